//! docs/exit-codes.md has the codes that the commands exit with, and their meanings.

use std::path::Path;

use swsync_cli::exit;

#[test]
fn the_table_in_the_docs_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/exit-codes.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let rows = page.lines().filter_map(|line| {
        // The table of two columns: the other one has those of single commands.
        let cells: Vec<_> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [code, meaning] = cells[..] else { return None };
        Some((code.parse::<u8>().ok()?, meaning.to_owned()))
    });
    let rows: Vec<_> = rows.collect();
    let codes: Vec<_> = exit::ALL.into_iter().map(|(code, meaning)| (code, meaning.to_owned())).collect();
    assert_eq!(rows, codes);
    let number = exit::INTERRUPTED - 128;
    assert!(page.contains("| 128 + n |") && page.contains(&format!("{}: Ctrl-C", 128 + number)), "{page}");
}
