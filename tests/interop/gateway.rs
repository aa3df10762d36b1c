//! A real gateway with the configuration that the guide shows.

use std::net::SocketAddr;
use std::path::Path;

use reqwest::header::HeaderMap;
use serde_json::Value;
use tempfile::TempDir;

use crate::service::{Service, application};
use crate::support::ports::free_address;
use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};
use crate::tools::program;

const GUIDE: &str = include_str!("../../docs/gateways.md");

/// The gateways of the guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Caddy,
    Traefik,
    Envoy,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Nginx, Self::Caddy, Self::Traefik, Self::Envoy];

    /// The configuration below the gateway's heading.
    fn configuration(self) -> &'static str {
        let (heading, language) = match self {
            Self::Nginx => ("\n## nginx\n", "nginx"),
            Self::Caddy => ("\n## Caddy\n", "caddyfile"),
            Self::Traefik => ("\n## Traefik\n", "yaml"),
            Self::Envoy => ("\n## Envoy\n", "yaml"),
        };
        let (_, section) = GUIDE.split_once(heading).expect("the guide has the gateway");
        let (_, block) = section.split_once(&format!("```{language}\n")).expect("a block");
        block.split("```").next().unwrap()
    }

    /// Writes the files that the gateway reads, and gives its command line.
    fn lay_out(self, folder: &Path, places: &Places) -> Vec<String> {
        let text = places.put_into(self.configuration());
        let write = |name: &str, text: String| {
            let file = folder.join(name);
            std::fs::write(&file, text).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let folder_name = folder.to_str().unwrap();
        match self {
            Self::Nginx => {
                let file = write("nginx.conf", nginx_around(&text, folder_name));
                ["-c", &file, "-p", folder_name, "-e", "stderr"]
                    .map(str::to_owned)
                    .into()
            }
            Self::Caddy => {
                let global = format!("{{\n\tadmin off\n\tauto_https off\n\tstorage file_system {folder_name}\n}}\n");
                let file = write("Caddyfile", global + &text);
                ["run", "--adapter", "caddyfile", "--config", &file]
                    .map(str::to_owned)
                    .into()
            }
            Self::Traefik => {
                let dynamic = write("dynamic.yaml", text);
                vec![
                    format!("--entrypoints.web.address={}", places.listen),
                    format!("--providers.file.filename={dynamic}"),
                    "--global.checknewversion=false".to_owned(),
                    "--global.sendanonymoususage=false".to_owned(),
                ]
            }
            Self::Envoy => {
                let file = write("envoy.yaml", text);
                // Without a base id of its own, a second Envoy on the machine would not start.
                [
                    "-c",
                    &file,
                    "--use-dynamic-base-id",
                    "--concurrency",
                    "1",
                    "--log-level",
                    "warning",
                ]
                .map(str::to_owned)
                .into()
            }
        }
    }
}

/// What the addresses of the guide stand for.
struct Places {
    listen: SocketAddr,
    service: SocketAddr,
    application: SocketAddr,
}

impl Places {
    fn put_into(&self, configuration: &str) -> String {
        let envoy = |address: SocketAddr| format!("address: {}, port_value: {}", address.ip(), address.port());
        configuration
            .replace("listen 80;", &format!("listen {};", self.listen))
            .replace(":80 {", &format!("http://{} {{", self.listen))
            .replace("address: 0.0.0.0, port_value: 80", &envoy(self.listen))
            .replace("address: cloakroom, port_value: 8080", &envoy(self.service))
            .replace("address: application, port_value: 3000", &envoy(self.application))
            .replace("cloakroom:8080", &self.service.to_string())
            .replace("application:3000", &self.application.to_string())
    }
}

/// What surrounds the guide's `server`: one process, and every scratch file in the test's folder.
pub(crate) fn nginx_around(server: &str, folder: &str) -> String {
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;\n\
         events {{}}\n\
         http {{\n\
         access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
         {server}\n}}\n"
    )
}

/// A gateway, an application that says what it was told, and the service.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) service: Service,
    client: reqwest::Client,
    _program: Program,
    _folder: TempDir,
}

impl Gateway {
    pub(crate) async fn start(kind: Kind) -> Self {
        let service = Service::start(&[]).await;
        let places = Places {
            listen: free_address(),
            service: service.address,
            application: application(service.address).await,
        };
        let folder = tempfile::tempdir().unwrap();
        let arguments = kind.lay_out(folder.path(), &places);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let name = format!("{kind:?}").to_lowercase();
        let home = folder.path().to_str().unwrap();
        let running = Program::start(&program(&name), &arguments, &[("HOME", home)]);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let gateway = Self {
            address: places.listen,
            service,
            client,
            _program: running,
            _folder: folder,
        };
        // Traefik listens before it knows its routes.
        eventually(SOON, &format!("{kind:?} to ask the service"), async || {
            let asked = gateway.client.get(format!("http://{}/", gateway.address)).send().await;
            asked.is_ok_and(|answer| answer.status() == 401)
        })
        .await;
        gateway
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.text().await.unwrap(),
        }
    }
}

/// What came through the gateway.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: String,
}

impl Answer {
    /// What the application says it was told, in the order of the headers' names.
    pub(crate) fn told(&self) -> Vec<(String, String)> {
        let told: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        let pair = |line: &Value| Some((line[0].as_str()?.to_owned(), line[1].as_str()?.to_owned()));
        let mut told: Vec<_> = told.as_array().unwrap().iter().filter_map(pair).collect();
        told.sort();
        told
    }
}
