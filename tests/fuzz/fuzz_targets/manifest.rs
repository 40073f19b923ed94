#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| uptimemesh::fuzzing::manifest(bytes));
