//! The `uptimemesh` program: everything is in the library, so that another program can embed it.

fn main() -> std::process::ExitCode {
    uptimemesh::cli::run(std::env::args_os().skip(1))
}
