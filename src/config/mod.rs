//! Settings: defaults, then a TOML file, then the environment, then flags.
