//! Bytes as text: marks taken off, UTF-16 decoded, packed and foreign files told by their first bytes, and nesting
//! limited before a parser sees it.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// Largest text that is read: far beyond any table, and small enough that a file that unpacks without end is refused.
const MAX_TEXT: u64 = 1 << 29;
/// Deepest nesting of brackets: ten times that of any format here, and few enough that a parser is done at once.
const MAX_DEPTH: usize = 100;
/// Columns of the deepest indentation, at ten columns a level.
const MAX_INDENTATION: usize = 10 * MAX_DEPTH;
/// Endings of the formats that nest.
const NESTED: [&str; 5] = [".yaml", ".yml", ".json", ".jsonl", ".ndjson"];
/// What files that are no text begin with, and what to say of them.
const FOREIGN: [(&[u8], &str); 5] = [
    (b"PK\x03\x04", "it is a zip archive or a spreadsheet: unpack it, or save the sheet as CSV"),
    (b"\x80\x02", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x80\x05", PICKLE),
    (b"PAR1", "it is a Parquet file: end its name in .parquet"),
];
const PICKLE: &str = "it is a Python pickle, which is never run: write its content as CSV or JSON";
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// Why there is no text.
#[derive(Debug)]
pub(crate) enum NoText {
    /// The operating system refused.
    Io(io::Error),
    /// What is wrong with the bytes, in words.
    Malformed(String),
}

/// All of `file` as text; what is gzip by its first bytes is unpacked, and the name of `path` says whether it nests.
///
/// # Errors
/// [`NoText::Malformed`] for what is no text, cut short, far too long or nested too deeply.
pub(crate) fn read(path: &Path, file: impl Read) -> Result<String, NoText> {
    let malformed = |problem: &str| NoText::Malformed(problem.to_string());
    let mut bytes = Vec::new();
    file.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(NoText::Io)?;
    if bytes.starts_with(&GZIP) {
        let mut unpacked = Vec::new();
        let reader = MultiGzDecoder::new(bytes.as_slice());
        reader.take(MAX_TEXT + 1).read_to_end(&mut unpacked).map_err(|source| match source.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                malformed("not a whole gzip file")
            }
            _ => NoText::Io(source),
        })?;
        bytes = unpacked;
    }
    if bytes.len() as u64 > MAX_TEXT {
        return Err(malformed("too large for a table"));
    }
    let text = decoded(bytes).map_err(NoText::Malformed)?;
    let name = path.to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    if NESTED.iter().any(|ending| name.ends_with(ending)) {
        check_depth(&text).and_then(|()| check_indentation(&text)).map_err(NoText::Malformed)?;
    }
    Ok(text)
}

fn decoded(bytes: Vec<u8>) -> Result<String, String> {
    if let Some((_, problem)) = FOREIGN.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Err((*problem).to_string());
    }
    let utf16 = |of: fn([u8; 2]) -> u16| {
        let pairs = bytes[2..].chunks_exact(2).map(|pair| of([pair[0], pair[1]]));
        let text: Result<String, _> = char::decode_utf16(pairs).collect();
        text.map_err(|_| "not whole UTF-16 text".to_string())
    };
    match bytes.as_slice() {
        [0xFF, 0xFE, ..] => return utf16(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => return utf16(u16::from_be_bytes),
        _ => {}
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = line_breaks(std::str::from_utf8(valid).unwrap_or_default()) + 1;
        format!("line {line} is not UTF-8 text")
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    if text.contains('\0') {
        return Err("it holds bytes of 0: save it as UTF-8 text".to_string());
    }
    Ok(text)
}

/// Line breaks as an editor counts them: LF, CRLF and CR.
fn line_breaks(text: &str) -> usize {
    text.matches(['\n', '\r']).count() - text.matches("\r\n").count()
}

/// Levels that a line of YAML opens by indentation and by indicators (`- - a`), each at least one column wide.
fn check_indentation(text: &str) -> Result<(), String> {
    for (line, content) in text.lines().enumerate() {
        let rest = content.trim_start_matches([' ', '-', '?', ':']);
        // A rule of dashes is a word, not levels.
        let start = &content[..content.len() - rest.len()];
        let levels = start.split(' ').filter(|indicator| indicator.len() == 1).count();
        let spaces = start.len() - start.trim_start_matches(' ').len();
        if levels > MAX_DEPTH || spaces > MAX_INDENTATION {
            return Err(format!("line {}: it is nested more than {MAX_DEPTH} deep", line + 1));
        }
    }
    Ok(())
}

/// Brackets outside of quoted words; a quote left open ends with its line.
fn check_depth(text: &str) -> Result<(), String> {
    let (mut depth, mut line, mut is_quoted, mut is_escaped) = (0_usize, 1, false, false);
    for byte in text.bytes() {
        match byte {
            b'\n' => (line, is_quoted) = (line + 1, false),
            _ if is_escaped => {}
            b'"' => is_quoted = !is_quoted,
            b'[' | b'{' if !is_quoted => depth += 1,
            b']' | b'}' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_escaped = is_quoted && byte == b'\\' && !is_escaped;
        if depth > MAX_DEPTH {
            return Err(format!("line {line}: its brackets are nested more than {MAX_DEPTH} deep"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, bytes: &[u8]) -> Result<String, String> {
        read(Path::new(name), bytes).map_err(|error| format!("{error:?}"))
    }

    fn utf16(text: &str, mark: [u8; 2], of: fn(u16) -> [u8; 2]) -> Vec<u8> {
        mark.into_iter().chain(text.encode_utf16().flat_map(of)).collect()
    }

    #[test]
    fn marks_are_taken_off_and_utf16_is_decoded() {
        assert_eq!(text("a.csv", "\u{feff}a,ö".as_bytes()).unwrap(), "a,ö");
        assert_eq!(text("a.yaml", &utf16("a: ö", [0xFF, 0xFE], u16::to_le_bytes)).unwrap(), "a: ö");
        assert_eq!(text("a.yaml", &utf16("a: ö", [0xFE, 0xFF], u16::to_be_bytes)).unwrap(), "a: ö");
    }

    #[test]
    fn what_is_no_text_is_named_by_its_first_bytes() {
        let check = |bytes: &[u8], word: &str| {
            let error = text("a.csv", bytes).unwrap_err();
            assert!(error.contains(word), "{error}");
        };
        check(b"PK\x03\x04rest", "zip");
        check(b"\x80\x04\x95", "pickle");
        check(b"PAR1", "Parquet");
        check(b"\x1F\x8B", "gzip");
        check(b"a\0b\0", "bytes of 0");
        check(b"a\r\nb\r\xFF", "line 3");
    }

    #[test]
    fn deep_nesting_is_refused_before_it_is_parsed() {
        let deep = "[".repeat(200_000);
        assert!(text("a.yaml", deep.as_bytes()).unwrap_err().contains("nested"));
        assert!(text("a.yaml.gz", deep.as_bytes()).is_err() && text("a.csv", deep.as_bytes()).is_ok());
        let dashes = "- ".repeat(200_000);
        assert!(text("a.yaml", dashes.as_bytes()).unwrap_err().contains("line 1: it is nested"));
        assert!(text("a.yaml", format!("a:\n{}b: 1", " ".repeat(2000)).as_bytes()).unwrap_err().contains("line 2"));
        assert!(text("a.yaml", format!("---\n# {}\n{}", "-".repeat(300), "-".repeat(300)).as_bytes()).is_ok());
        assert!(text("a.json", format!("{{\"a\\\"\": \"{deep}\"}}").as_bytes()).is_ok(), "within quotes");
    }
}
