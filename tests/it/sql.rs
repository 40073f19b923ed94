//! Every query is prepared against the real schema and explained; schema and plans are reviewed as texts.

use crate::golden;
use crate::support::Served;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

fn files(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn the_schema_is_as_reviewed_and_strict() {
    let served = Served::new();
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    let mut statement =
        database.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type DESC, name").unwrap();
    let schema: Vec<String> = statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    for table in schema.iter().filter(|sql| sql.starts_with("CREATE TABLE") && !sql.contains("sqlite_sequence")) {
        assert!(table.ends_with("STRICT"), "{table}");
    }
    golden::check("schema.sql", &(schema.join(";\n") + ";\n"));
}

#[test]
fn no_query_scans_a_table_without_saying_why() {
    let served = Served::new();
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    let mut out = String::new();
    for path in files("sql/queries") {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("-- name: "), "{}", path.display());
        for query in text.split("-- name: ").skip(1) {
            let (name, sql) = query.split_once('\n').unwrap();
            let mut statement =
                database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap_or_else(|e| panic!("{name}: {e}"));
            let steps: Vec<String> = statement.raw_query().mapped(|r| r.get("detail")).map(Result::unwrap).collect();
            let reason = sql.lines().find_map(|l| l.strip_prefix("-- scan: "));
            let scans = steps.iter().any(|s| s.starts_with("SCAN") || s.contains("USE TEMP B-TREE"));
            assert_eq!(scans, reason.is_some(), "{name} in {}: {steps:?}", path.display());
            writeln!(out, "{}.{name}", path.file_stem().unwrap().to_str().unwrap()).unwrap();
            steps.iter().for_each(|step| writeln!(out, "    {step}").unwrap());
            reason.iter().for_each(|why| writeln!(out, "    ({why})").unwrap());
        }
    }
    golden::check("plans.txt", &out);
}
