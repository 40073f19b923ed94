//! Output in files of bounded size and number.

use super::{Machine, script};
use serde_json::json;
use std::fs;

#[test]
fn lines_are_logged_whole_in_order_and_by_stream() {
    let machine = Machine::new();
    let id =
        machine.start(script("echo one; echo two >&2; sleep 0.05; printf '\\n%s' three; sleep 0.05; printf ' %s' end"));
    machine.exit(&id);
    let lines = machine.lines(&id);
    assert_eq!(lines.iter().filter(|l| l.starts_with('o')).collect::<Vec<_>>(), ["o F one", "o F ", "o P three end"]);
    assert!(lines.contains(&"e F two".to_string()), "{lines:?}");
    let text = fs::read_to_string(machine.log_dir(&id).join("log.0")).unwrap();
    assert!(text.starts_with("20") && text.contains("Z o F one\n"), "{text}");
}

#[test]
fn a_line_without_an_end_is_cut_into_parts() {
    let machine = Machine::new();
    let id = machine.start(script("head -c 100000 /dev/zero | tr '\\0' x; echo; echo last"));
    machine.exit(&id);
    let lines = machine.lines(&id);
    let text: String =
        lines.iter().filter_map(|l| l.strip_prefix("o P ").or(l.strip_prefix("o F x").map(|_| &l[4..]))).collect();
    assert_eq!(text.len(), 100_000);
    assert!(lines.iter().all(|line| line.len() < 33_000), "bounded");
    assert_eq!(lines.last().map(String::as_str), Some("o F last"));
}

#[test]
fn logs_are_bounded_and_the_newest_stay() {
    let machine = Machine::new();
    let mut of = script(
        "i=0; while [ $i -lt 60000 ]; do echo \"$i of many lines that are all as long as this one\"; \
         i=$((i+1)); done",
    );
    of["logs"] = json!({"max_mb": 1, "files": 3});
    let id = machine.start(of);
    let exit = machine.exit(&id);
    assert_eq!((exit.code, exit.lines_lost), (Some(0), 0));
    let files: Vec<u64> =
        fs::read_dir(machine.log_dir(&id)).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|bytes| *bytes <= 1 << 20), "{files:?}");
    let lines = machine.lines(&id);
    let numbers: Vec<u32> = lines.iter().map(|l| l.split(' ').nth(2).unwrap().parse().unwrap()).collect();
    assert_eq!(numbers.last(), Some(&59_999));
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no gap");
}
