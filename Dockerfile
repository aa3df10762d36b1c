# The image of Cloakroom: one program on a base with glibc and nothing else, not even a shell.
#
#   docker build --tag registry.example.com/cloakroom/cloakroom:0.1.0 .
#
# Both bases are arguments, for mirrors and for other tastes. They must have the same glibc: the program is linked
# dynamically, because a static glibc cannot resolve names reliably.
ARG BUILDER=docker.io/library/rust:1.95-bookworm
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER} AS build
# Puts the list of crates into the program, where scanners of vulnerabilities find it.
ARG CARGO_AUDITABLE=0.7.7
RUN cargo install --locked --quiet --version ${CARGO_AUDITABLE} --root /usr/local/auditable cargo-auditable
ENV PATH=/usr/local/auditable/bin:${PATH}
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    cargo auditable build --locked --release --bin cloakroom \
    && install -D target/release/cloakroom /out/usr/local/bin/cloakroom \
    && install -D --mode=644 --target-directory=/out/usr/share/doc/cloakroom LICENSE-APACHE LICENSE-MIT

FROM ${RUNTIME}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="cloakroom" \
      org.opencontainers.image.description="HTTP sessions shared by every replica of a service" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /out/ /
USER 65532:65532
EXPOSE 8080 9090
# Kubernetes has probes of its own; this is for Docker and Podman.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/local/bin/cloakroom", "health"]
ENTRYPOINT ["/usr/local/bin/cloakroom"]
CMD ["serve"]
