//! How runs start and end.

use super::{Machine, lives, processes, script, shim, signal};
use crate::support::{Dir, PATIENCE, until};
use serde_json::json;
use std::time::{Duration, Instant};
use uptimemesh::runner::run::{Asked, RunState};

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn an_exit_is_seen_with_its_status_or_signal() {
    let machine = Machine::new();
    for (text, code, signal) in [
        ("exit 0", Some(0), None),
        ("exit 7", Some(7), None),
        ("exit 125", Some(125), None),
        ("kill -KILL $$", None, Some(9)),
        ("kill -SEGV $$", None, Some(11)),
        ("kill -PIPE $$", None, Some(13)),
    ] {
        let id = machine.start(script(text));
        let exit = machine.exit(&id);
        assert_eq!((exit.code, exit.signal), (code, signal), "{text}");
        assert_eq!((exit.asked, exit.oom, exit.lines_lost, exit.failure), (None, false, 0, None), "{text}");
        assert!(exit.started_at <= exit.ended_at);
        machine.driver().remove(&id).unwrap();
        assert!(machine.seen(&id).is_none());
    }
}

#[test]
fn a_program_that_cannot_start_says_why() {
    let machine = Machine::new();
    let mut program = script("");
    program["command"] = json!(["/usr/bin/no-such-program"]);
    let mut directory = script("exit 0");
    directory["working_dir"] = json!("/no/such/directory");
    let mut user = script("exit 0");
    user["user"] = json!("nobody-here");
    let mut nothing = script("");
    nothing["command"] = json!([]);
    for (spec, why) in [
        (program, "cannot start: run a program: /usr/bin/no-such-program: No such file or directory"),
        (directory, "cannot start: enter the working directory: /no/such/directory: No such file or directory"),
        (user, "cannot start: become the user: this machine has no user \"nobody-here\"; create it, or name another"),
        (nothing, "cannot start: run a program: the command is empty"),
    ] {
        let exit = machine.exit(&machine.start(spec));
        let failure = exit.failure.unwrap();
        assert!(failure.starts_with(why), "{failure}");
        assert_eq!((exit.code, exit.signal), (None, None), "{why}");
    }
}

#[test]
fn a_stop_lets_the_program_end_and_kills_what_does_not() {
    let machine = Machine::new();
    let willing = machine.start(script("trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done"));
    machine.says(&willing, "o F ready");
    machine.driver().stop(&willing, "SIGTERM", LONG).unwrap();
    let exit = machine.exit(&willing);
    assert_eq!((exit.code, exit.asked), (Some(3), Some(Asked::Stop)));
    assert!(machine.lines(&willing).contains(&"o F bye".to_string()), "its last words are logged");

    let stubborn = machine.start(script("trap '' TERM; echo ready; while :; do sleep 0.01; done"));
    machine.says(&stubborn, "o F ready");
    let began = Instant::now();
    machine.driver().stop(&stubborn, "TERM", Duration::from_millis(300)).unwrap();
    let exit = machine.exit(&stubborn);
    assert_eq!((exit.signal, exit.asked), (Some(9), Some(Asked::Kill)));
    assert!(began.elapsed() >= Duration::from_millis(300), "it had its grace");

    let hurried = machine.start(script("trap '' USR1; echo ready; while :; do sleep 0.01; done"));
    machine.says(&hurried, "o F ready");
    machine.driver().stop(&hurried, "USR1", LONG).unwrap();
    machine.driver().stop(&hurried, "10", Duration::ZERO).unwrap();
    assert_eq!(machine.exit(&hurried).asked, Some(Asked::Kill), "a second stop shortens the grace");
    machine.driver().stop(&hurried, "TERM", LONG).unwrap();
    for (id, name) in [(&hurried, "SIGNONE"), (&hurried, "0"), (&uptimemesh::runner::run::RunId::random(), "TERM")] {
        assert!(machine.driver().stop(id, name, LONG).is_err(), "{name}");
    }
}

#[test]
fn a_stop_at_the_first_moment_is_not_lost() {
    let machine = Machine::new();
    for _ in 0..10 {
        let id = machine.start(script("exec sleep 600"));
        machine.driver().stop(&id, "TERM", Duration::ZERO).unwrap();
        let exit = machine.exit(&id);
        assert!(matches!(exit.signal, Some(9 | 15)), "{exit:?}");
    }
}

/// True for `sleep` itself, not for the shell that is about to run it.
fn is_sleep(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
}

/// A number of seconds that no other test sleeps.
fn seconds() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}.{}", 100_000 + std::process::id(), 100 + COUNT.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn what_a_program_left_behind_ends_with_it() {
    for machine in Machine::both() {
        let seconds = seconds();
        let sleep = format!("sleep {seconds}");
        // In sessions of their own, without a parent, without an environment, and deaf.
        let forks = format!(
            "(setsid sh -c '{sleep} & exec {sleep}' &); (trap '' TERM HUP INT; {sleep} &); (setsid env -i {sleep} &); \
             echo ready; exec {sleep}"
        );
        let id = machine.start(script(&forks));
        machine.says(&id, "o F ready");
        until("five sleep", || (processes(&sleep).iter().filter(|pid| is_sleep(**pid)).count() == 5).then_some(()));
        signal(machine.pid(&id), "KILL");
        assert_eq!(machine.exit(&id).signal, Some(9));
        assert_eq!(processes(&sleep), Vec::<u32>::new(), "{}", machine.driver().limits());
        machine.driver().remove(&id).unwrap();
    }
}

#[test]
fn a_lost_shim_takes_its_program_along_and_the_rest_is_found() {
    for machine in Machine::both() {
        let seconds = seconds();
        let sleep = format!("sleep {seconds}");
        // Without control groups only those that kept their environment can be found.
        let id = machine.start(script(&format!("(setsid {sleep} &); (setsid {sleep} &); echo ready; exec {sleep}")));
        machine.says(&id, "o F ready");
        let pid = machine.pid(&id);
        until("three sleep", || (processes(&sleep).iter().filter(|pid| is_sleep(**pid)).count() == 3).then_some(()));
        assert!(machine.driver().end_lost(&id).is_err(), "it is not lost");
        assert!(machine.driver().remove(&id).is_err(), "it lives");
        signal(shim(&machine, &id), "KILL");
        machine.wait(&id, |state| (*state == RunState::Lost).then_some(()));
        until("the program ends", || (!lives(pid)).then_some(()));
        machine.driver().end_lost(&id).unwrap();
        until("the rest ends", || processes(&sleep).iter().all(|pid| !lives(*pid)).then_some(()));
        assert_eq!(machine.seen(&id).unwrap().state, RunState::Lost);
        machine.driver().remove(&id).unwrap();
        assert!(machine.seen(&id).is_none());
    }
}

#[test]
fn signals_to_the_shim_and_to_its_group_do_not_end_a_run() {
    let machine = Machine::new();
    // Zero is the sender's own process group.
    let id = machine.start(script("trap : TERM INT HUP; kill -TERM 0; kill -INT 0; echo alive; exec sleep 600"));
    machine.says(&id, "o F alive");
    let shim = shim(&machine, &id);
    for name in ["TERM", "INT", "HUP", "QUIT"] {
        signal(shim, name);
    }
    let own_group = machine.start(script("kill -KILL 0"));
    assert_eq!(machine.exit(&own_group).signal, Some(9), "its shim saw it");
    assert!(lives(shim));
    let pid = machine.pid(&id);
    assert!(lives(pid));
}

#[test]
fn a_program_has_exactly_its_environment_and_no_rights_beside_its_own() {
    let machine = Machine::new();
    let mut of =
        script("env | sort; umask; ulimit -Sn; pwd; grep NoNewPrivs /proc/self/status; ls -l /proc/self/fd >&2");
    of["environment"] = json!({"COLOUR": "blue", "UPTIMEMESH_RUN": "another"});
    of["working_dir"] = json!("/usr");
    let id = machine.start(of);
    machine.exit(&id);
    let lines = machine.lines(&id);
    eprintln!("{lines:#?}");
    let said: Vec<&str> = lines.iter().map(|l| l.strip_prefix("o F ").unwrap_or("")).collect();
    let begins = |text: &str| said.iter().any(|line| line.starts_with(text));
    assert!(said.contains(&"COLOUR=blue") && begins("PATH=/usr/local/sbin:") && begins("HOME=/"), "{said:?}");
    assert!(said.contains(&format!("UPTIMEMESH_RUN={id}").as_str()), "{said:?}");
    assert!(said.contains(&"UPTIMEMESH_REPLICA=web-1") && said.contains(&"UPTIMEMESH_SERVICE=web"), "{said:?}");
    let variables = said.iter().filter(|line| line.contains('=')).count();
    // The shell adds PWD, and some shells SHLVL and `_`, by themselves.
    assert!(variables <= 9, "{said:?}");
    assert!(
        said.contains(&"0022") && said.contains(&"1024") && said.contains(&"/usr") && said.contains(&"NoNewPrivs:\t1"),
        "{said:?}"
    );
    let files: Vec<&String> = lines.iter().filter(|line| line.contains(" -> ")).collect();
    let run = machine.dir.path().to_string_lossy().into_owned();
    assert!(files.len() >= 3 && !files.iter().any(|file| file.contains(&run)), "no file of the shim: {files:?}");
}

#[test]
fn a_user_is_become_with_its_groups() {
    if !super::drivers::is_root() {
        return;
    }
    let machine = Machine::new();
    for (user, shown) in [("daemon", "1 1"), ("12345", "12345 12345")] {
        let mut of = script("echo $(id -u) $(id -G); echo $HOME; cat /proc/self/status | grep CapEff; exec sleep 600");
        of["user"] = json!(user);
        let id = machine.start(of);
        machine.says(&id, "o F CapEff:\t0000000000000000");
        assert!(machine.lines(&id).contains(&format!("o F {shown}")), "{user}: {:?}", machine.lines(&id));
        // The change of user must not have cleared the signal that the end of the shim sends.
        let pid = machine.pid(&id);
        signal(shim(&machine, &id), "KILL");
        until("the program ends", || (!lives(pid)).then_some(()));
    }
}

#[test]
fn an_end_is_seen_at_once() {
    let machine = Machine::new();
    let id = machine.start(script("exec sleep 600"));
    let pid = machine.pid(&id);
    let began = Instant::now();
    signal(pid, "KILL");
    machine.exit(&id);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert!(!machine.driver().wait_for_change(Duration::ZERO).unwrap() || machine.seen(&id).is_some());
}

#[test]
fn what_the_driver_does_itself_wakes_nobody() {
    let machine = Machine::new();
    let id = machine.start(script("trap '' TERM; echo ready; while :; do sleep 1; done"));
    machine.says(&id, "o F ready");
    machine.pid(&id);
    while machine.driver().wait_for_change(Duration::from_millis(50)).unwrap() {}
    machine.driver().stop(&id, "TERM", LONG).unwrap();
    machine.driver().list().unwrap();
    assert!(!machine.driver().wait_for_change(Duration::from_millis(100)).unwrap(), "a caller that stops would spin");
}

#[test]
fn a_directory_of_runs_has_one_driver() {
    let machine = Machine::new();
    let why = uptimemesh::runner::process::Processes::open(super::config(machine.dir.path())).err().unwrap();
    assert!(why.to_string().contains("Another runner works in"), "{why}");
    drop(machine);
    drop(Dir::new());
}
