//! The manual page and the completions of shells, made from the table of commands, so that neither forgets one.

use super::args::{Args, Command, Failure, Opt, command, flag_of};
use super::failure::{EXIT_CODES, VERSION_1};
use super::{GLOBAL, commands, output};
use crate::config::SETTINGS;
use std::fmt::Write;

/// Shells that completions are made for.
const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// A line of the manual's source; mandoc finds fault with longer ones.
const MAN_LINE_BYTES_MAX: usize = 78;

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("man", "", "Print the manual page.", &[], man),
    command("completions", "SHELL", "Print the completion of bash, zsh or fish.", &[], completions),
];

/// Prints the manual page.
fn man(args: &Args) -> Result<(), Failure> {
    args.finish()?;
    output::print(&manual());
    Ok(())
}

/// Prints the completion of a shell.
fn completions(args: &Args) -> Result<(), Failure> {
    let text = match args.word(0) {
        "bash" => bash(),
        "zsh" => zsh(),
        "fish" => fish(),
        other => {
            args.fault(format!("SHELL must be one of {}, not {other:?}", SHELLS.join(", ")));
            String::new()
        }
    };
    args.finish()?;
    output::print(&text);
    Ok(())
}

/// An option as the completions see it.
struct Flag {
    name: String,
    letter: Option<char>,
    value: &'static str,
    help: String,
}

impl Flag {
    fn of(o: &Opt) -> Flag {
        Flag { name: o.name.to_string(), letter: o.letter, value: o.value, help: o.help.to_string() }
    }

    /// Its forms as they are typed, the short one first.
    fn words(&self) -> Vec<String> {
        let short = self.letter.map(|letter| format!("-{letter}"));
        short.into_iter().chain([format!("--{}", self.name)]).collect()
    }
}

/// Everything that may follow a command, its settings too.
fn flags(command: &Command) -> Vec<Flag> {
    let mut found: Vec<Flag> =
        command.listed_options().chain(GLOBAL.iter().filter(|o| !o.hidden)).map(Flag::of).collect();
    if command.settings {
        let settings = SETTINGS.iter().filter(|s| !s.is_secret());
        found.extend(settings.map(|s| Flag {
            name: flag_of(s.name),
            letter: None,
            value: setting_value(s.name),
            help: s.help(),
        }));
    }
    found
}

/// Type of a setting's value, for shells that complete files and directories.
fn setting_value(name: &str) -> &'static str {
    match name {
        _ if name.ends_with("_FILE") => "FILE",
        _ if name.ends_with("_DIR") => "DIR",
        _ => "VALUE",
    }
}

/// First words of commands, each with its help; a word that others follow is explained by them.
fn first_words() -> Vec<(&'static str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for command in commands() {
        match command.name.split_once(' ') {
            None => found.push((command.name, command.about.to_string())),
            Some((first, _)) if found.iter().any(|(word, _)| *word == first) => {}
            Some((first, _)) => {
                let seconds: Vec<&str> = second_words(first).map(|(word, _)| word).collect();
                found.push((first, seconds.join(", ")));
            }
        }
    }
    found
}

/// Second words after a first one.
fn second_words(first: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let first = first.to_string();
    commands().into_iter().filter_map(move |c| Some((c.name.strip_prefix(first.as_str())?.strip_prefix(' ')?, c.about)))
}

/// Words that a command's argument may be, where they are known.
fn argument_words(command: &Command) -> Vec<&'static str> {
    match command.name {
        "help" => first_words().into_iter().map(|(word, _)| word).collect(),
        "completions" => SHELLS.to_vec(),
        "unit" => super::units::names().collect(),
        _ => Vec::new(),
    }
}

/// Every option of any command once: an option takes the same kind of value wherever it stands.
fn every_flag() -> Vec<Flag> {
    let mut found: Vec<Flag> = Vec::new();
    for flag in commands().into_iter().flat_map(flags) {
        if !found.iter().any(|f| f.name == flag.name) {
            found.push(flag);
        }
    }
    found
}

/// The names of options whose value is of this kind, in a shell's pattern.
fn pattern(is: impl Fn(&str) -> bool) -> String {
    let words: Vec<String> = every_flag().iter().filter(|f| is(f.value)).flat_map(Flag::words).collect();
    words.join("|")
}

fn is_file(value: &str) -> bool {
    value == "FILE"
}

fn is_dir(value: &str) -> bool {
    value == "DIR"
}

fn is_word(value: &str) -> bool {
    !value.is_empty() && !is_file(value) && !is_dir(value)
}

/// The arms of bash's two `case`: the second words after a first one, and the options and arguments of a command.
fn bash_arms() -> (String, String) {
    let mut seconds = String::new();
    let mut cases = String::new();
    for (first, _) in first_words() {
        let words: Vec<&str> = second_words(first).map(|(word, _)| word).collect();
        if !words.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(seconds, "        {first}) seconds=\"{}\" ;;", words.join(" "));
        }
    }
    for command in commands() {
        let names: Vec<String> = flags(command).iter().map(|f| format!("--{}", f.name)).collect();
        let _ = writeln!(
            cases,
            "        \"{}\") options=\"{}\"; words=\"{}\" ;;",
            command.name,
            names.join(" "),
            argument_words(command).join(" ")
        );
    }
    (seconds, cases)
}

fn bash() -> String {
    let (seconds, cases) = bash_arms();
    let firsts: Vec<&str> = first_words().into_iter().map(|(word, _)| word).collect();
    let globals: Vec<String> = GLOBAL.iter().map(|o| format!("--{}", o.name)).collect();
    format!(
        r#"# bash completion of uptimemesh, made by `uptimemesh completions bash`.
_uptimemesh() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}"
    local first="" second="" seconds="" options="{globals}" words="" at word
    # bash breaks --option=value into three words.
    if [[ $current == "=" ]]; then
        current=""
    elif [[ $before == "=" ]]; then
        before="${{COMP_WORDS[COMP_CWORD - 2]}}"
    fi
    COMPREPLY=()
    case "$before" in
        {files}) mapfile -t COMPREPLY < <(compgen -f -- "$current"); compopt -o filenames 2>/dev/null; return ;;
        {dirs}) mapfile -t COMPREPLY < <(compgen -d -- "$current"); compopt -o filenames 2>/dev/null; return ;;
        {values}) return ;;
    esac
    for ((at = 1; at < COMP_CWORD; at++)); do
        word="${{COMP_WORDS[at]}}"
        case "$word" in
            {takes}) [[ ${{COMP_WORDS[at + 1]}} == "=" ]] && ((at++)); ((at++)) ;;
            -*) ;;
            *)
                if [[ -z $first ]]; then
                    first="$word"
                elif [[ -z $second ]]; then
                    second="$word"
                fi
                ;;
        esac
    done
    if [[ -z $first ]]; then
        words="{firsts}"
    fi
    case "$first" in
{seconds}    esac
    word="$first"
    [[ -n $seconds && -n $second ]] && word="$first $second"
    case "$word" in
{cases}    esac
    [[ -n $seconds && -z $second ]] && words="$seconds"
    [[ $current == -* ]] && words="$options"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -F _uptimemesh uptimemesh
"#,
        globals = globals.join(" "),
        files = pattern(is_file),
        dirs = pattern(is_dir),
        values = pattern(is_word),
        takes = pattern(|value| !value.is_empty()),
        firsts = firsts.join(" "),
    )
}

/// A text between single quotes of zsh, as `_arguments` and `_describe` read it.
fn zsh_text(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\'' => out.push_str("'\\''"),
            ':' | '[' | ']' | '\\' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

fn zsh_flags(flag: &Flag) -> Vec<String> {
    let takes = match flag.value {
        "" => String::new(),
        value if is_file(value) => format!(":{value}:_files"),
        value if is_dir(value) => format!(":{value}:_files -/"),
        value => format!(":{}: ", zsh_text(value)),
    };
    let one = |word: String| {
        // Values may be joined by `=`, and options may be given again.
        let joined = if flag.value.is_empty() || !word.starts_with("--") { "" } else { "=" };
        format!("'*{word}{joined}[{}]{takes}'", zsh_text(&flag.help))
    };
    flag.words().into_iter().map(one).collect()
}

fn zsh() -> String {
    let described = |words: &mut dyn Iterator<Item = (&str, String)>| -> String {
        words.map(|(word, about)| format!("'{}:{}'", zsh_text(word), zsh_text(&about))).collect::<Vec<_>>().join(" ")
    };
    let mut out =
        "#compdef uptimemesh\n# zsh completion of uptimemesh, made by `uptimemesh completions zsh`.\n".to_string();
    let globals: Vec<String> = GLOBAL.iter().flat_map(|o| zsh_flags(&Flag::of(o))).collect();
    let firsts = described(&mut first_words().into_iter());
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "_uptimemesh() {{\n    local curcontext=\"$curcontext\" state name\n    local -a line known\n    _arguments -C \
            {} '1: :->first' '*:: :->rest'\n    \
         case $state in\n        first) known=({firsts}); _describe command known; return ;;\n        \
         rest) ;;\n        *) return ;;\n    esac\n    \
         name=$words[1]\n    case $name in\n",
        globals.join(" ")
    );
    for (first, _) in first_words() {
        let seconds = described(&mut second_words(first).map(|(word, about)| (word, about.to_string())));
        if !seconds.is_empty() {
            let _ = write!(
                out,
                "        {first})\n            if [[ $words[2] != -* ]]; then\n                if ((CURRENT == 2)); \
                    then\n                    known=({seconds}); _describe command known; return\n                \
                 fi\n                shift words; ((CURRENT--)); name=\"{first} $words[1]\"\n            fi ;;\n"
            );
        }
    }
    out.push_str("    esac\n    case $name in\n");
    for command in commands() {
        let flags: Vec<String> = flags(command).iter().flat_map(zsh_flags).collect();
        let words = argument_words(command).join(" ");
        let argument = match (command.argument, words.is_empty()) {
            ("", _) => String::new(),
            (_, false) => format!(" '1: :({words})'"),
            (argument, true) => argument
                .split(' ')
                .map(|name| format!(" ': :_message {}'", zsh_text(name.trim_matches(['[', ']']))))
                .collect(),
        };
        let _ = writeln!(out, "        '{}') _arguments {}{argument} ;;", command.name, flags.join(" "));
    }
    out.push_str(
        "    esac\n}\nif [ \"$funcstack[1]\" = _uptimemesh ]; then\n    _uptimemesh \"$@\"\nelse\n    compdef \
            _uptimemesh uptimemesh\nfi\n",
    );
    out
}

/// A text between single quotes of fish.
fn fish_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

fn fish() -> String {
    let takes: Vec<String> = every_flag().iter().filter(|f| !f.value.is_empty()).flat_map(Flag::words).collect();
    let mut out = format!(
        r#"# fish completion of uptimemesh, made by `uptimemesh completions fish`.
function __uptimemesh_words
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word {takes}
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end
function __uptimemesh_after
    set -l words (__uptimemesh_words)
    test "$words" = "$argv"
end
function __uptimemesh_in
    set -l words (__uptimemesh_words)
    test "$words[1..$(count $argv)]" = "$argv"
end
complete -c uptimemesh -f
"#,
        takes = takes.join(" ")
    );
    // Writing to a String cannot fail.
    for (word, about) in first_words() {
        let _ = writeln!(out, "complete -c uptimemesh -n __uptimemesh_after -a {word} -d '{}'", fish_text(&about));
        for (second, about) in second_words(word) {
            let _ = writeln!(
                out,
                "complete -c uptimemesh -n '__uptimemesh_after {word}' -a {second} -d '{}'",
                fish_text(about)
            );
        }
    }
    for command in commands() {
        for word in argument_words(command) {
            let _ = writeln!(out, "complete -c uptimemesh -n '__uptimemesh_after {}' -a {word}", command.name);
        }
        for flag in flags(command) {
            let takes = match flag.value {
                "" => "",
                value if is_file(value) => " -r -F",
                value if is_dir(value) => " -x -a '(__fish_complete_directories)'",
                _ => " -x",
            };
            let short = flag.letter.map_or(String::new(), |letter| format!(" -s {letter}"));
            // What follows a command that is a noun too is a verb, with options of its own.
            let place = if second_words(command.name).next().is_some() { "after" } else { "in" };
            let _ = writeln!(
                out,
                "complete -c uptimemesh -n '__uptimemesh_{place} {}'{short} -l {}{takes} -d '{}'",
                command.name,
                flag.name,
                fish_text(&flag.help)
            );
        }
    }
    out
}

/// A text of the manual that stays on its line; nothing in it is a request of roff.
fn roff_line(text: &str) -> String {
    let text =
        text.replace('\\', "\\e").replace('-', "\\-").replace('`', "\\(ga").replace('~', "\\(ti").replace('^', "\\(ha");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// A text of the manual, in lines as short as roff's own style wants them; nothing in it is a request of roff.
fn roff(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ').map(roff_line) {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.len() + word.len() < MAN_LINE_BYTES_MAX => line.extend([" ", &word]),
            _ => lines.push(word),
        }
    }
    lines.join("\n")
}

fn option(out: &mut String, o: &Opt) {
    let value = if o.value.is_empty() { String::new() } else { format!(" \\fI{}\\fR", roff(o.value)) };
    let short = o.letter.map_or(String::new(), |letter| format!("\\fB\\-{letter}\\fR, "));
    // Writing to a String cannot fail.
    let _ = writeln!(out, ".TP\n{short}\\fB\\-\\-{}\\fR{value}\n{}", roff(o.name), roff(o.help));
}

fn manual() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = format!(
        ".\\\" Made by \"uptimemesh man\".\n.TH UPTIMEMESH 1 \"\" \"UptimeMesh {version}\"\n.nh\n.ad l\n.SH \
            NAME\nuptimemesh \\- keep a small fleet of machines running\n\
         .SH SYNOPSIS\n.B uptimemesh\n.RI [ options ]\n.I command\n.RI [ arguments ]\n.SH DESCRIPTION\n\
         UptimeMesh is control plane, node agent and command line in one program.\n\
         .B uptimemesh up\nstarts a control plane and enrols this machine;\n\
         .B uptimemesh join\nand\n.B uptimemesh agent\nmake another machine a node of it.\n\
         All other commands speak to the control plane.\n\
         .SH OPTIONS\nEvery command takes these:\n"
    );
    for o in GLOBAL.iter().filter(|o| !o.hidden) {
        option(&mut out, o);
    }
    out.push_str(".SH COMMANDS\n");
    for command in commands() {
        // Writing to a String cannot fail.
        let argument =
            if command.argument.is_empty() { String::new() } else { format!(" \\fI{}\\fR", roff(command.argument)) };
        let _ = writeln!(out, ".SS \\fB{}\\fR{argument}\n{}", roff(command.name), roff(command.about));
        if command.settings {
            out.push_str(
                "Every setting (see\n.BR ENVIRONMENT )\nis an option too, in lower case and with dashes, unless it is \
                    a secret.\n",
            );
        }
        if !command.example.is_empty() {
            let lines: Vec<String> = command.example.lines().map(roff_line).collect();
            let _ = writeln!(out, ".PP\n.EX\n{}\n.EE", lines.join("\n"));
        }
        for o in command.listed_options() {
            option(&mut out, o);
        }
    }
    out.push_str(
        ".SH ENVIRONMENT\nOptions win over the environment, and that over the file\n.I .env\nin the working \
        directory.\n",
    );
    for setting in SETTINGS {
        let default =
            if setting.default.is_empty() { String::new() } else { format!(" (default {})", setting.default) };
        let _ = writeln!(out, ".TP\n.B {}\n{}", setting.name, roff(&format!("{}{default}", setting.help())));
    }
    out.push_str(
        ".SH FILES\n.TP\n.I /etc/uptimemesh/uptimemesh.env\nsettings of the installed services\n.TP\n.I \
            /var/lib/uptimemesh\ntheir data\n.TP\n\
         .I /var/log/uptimemesh/app.log\ntheir log\n",
    );
    exit_status(&mut out);
    out.push_str(
        ".SH EXAMPLES\n.EX\nuptimemesh up\nuptimemesh token create \\-\\-role worker \\-\\-join\\-string > \
            join\nuptimemesh node list\n.EE\n",
    );
    out
}

fn exit_status(out: &mut String) {
    out.push_str(".SH EXIT STATUS\n");
    for (code, _, meaning) in EXIT_CODES {
        // Writing to a String cannot fail.
        let _ = writeln!(out, ".TP\n.B {code}\n{}", roff(meaning));
    }
    let names = VERSION_1.join(", ");
    let text = format!(
        "Called by their names of version 1 ({names}), commands exit with 1 for every failure but a wrong command line."
    );
    let _ = writeln!(out, ".PP\n{}", roff(&text));
}
