//! Rust's tokens as text: the same text for whatever the compiler takes for the same.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use sha2::{Digest, Sha256};

/// Attributes that say something to people, to lints or to tools, and nothing to the compiled program.
const SILENT: [&str; 11] = [
    "allow",
    "automatically_derived",
    "clippy",
    "deny",
    "deprecated",
    "diagnostic",
    "doc",
    "expect",
    "forbid",
    "must_use",
    "warn",
];

/// The operators of more than one character.
const OPERATORS: [&str; 25] = [
    "!=", "%=", "&&", "&=", "*=", "+=", "-=", "->", "..", "...", "..=", "/=", "::", "<<", "<<=", "<=", "==", "=>",
    ">=", ">>", ">>=", "^=", "|=", "||", "<-",
];

/// Words that a parenthesis or bracket behind them doesn't belong to.
const KEYWORDS: [&str; 12] =
    ["as", "const", "dyn", "else", "for", "impl", "in", "match", "mut", "return", "unsafe", "where"];

/// The tokens as one line of text, spaced as people would space a type or a signature.
///
/// Comments, documentation, lint levels and white space leave no trace. Two texts are equal only if the tokens are.
pub fn spell(tokens: impl ToTokens) -> String {
    let mut pieces = Vec::new();
    collect(tokens.into_token_stream(), &mut pieces);
    let mut text = String::new();
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 && spaced(&pieces[index - 1], piece) {
            text.push(' ');
        }
        text.push_str(piece);
    }
    text
}

/// A short stand-in for a text: the first 64 bits of its SHA-256 hash, in hexadecimal.
pub fn fingerprint(text: &str) -> String {
    hash(text).split_at(16).0.to_owned()
}

/// The SHA-256 hash of a text, in hexadecimal.
pub fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Splits tokens into words, literals, operators and delimiters, leaving out silent attributes.
fn collect(tokens: TokenStream, pieces: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    // An operator or lifetime whose next character may follow.
    let mut joint = String::new();
    while let Some(token) = tokens.next() {
        if let TokenTree::Punct(punct) = &token {
            joint.push(punct.as_char());
            let continued = punct.spacing() == Spacing::Joint
                && matches!(tokens.peek(), Some(TokenTree::Punct(next))
                if OPERATORS.contains(&format!("{joint}{}", next.as_char()).as_str()));
            let lifetime = joint == "'";
            if !continued && !lifetime {
                pieces.push(std::mem::take(&mut joint));
            }
            continue;
        }
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket if attribute_is_silent(&group.stream()) && drop_hash(pieces) => continue,
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                pieces.extend(Some(open.to_owned()).filter(|open| !open.is_empty()));
                collect(group.stream(), pieces);
                pieces.extend(Some(close.to_owned()).filter(|close| !close.is_empty()));
            }
            word => pieces.push(std::mem::take(&mut joint) + &word.to_string()),
        }
    }
}

fn attribute_is_silent(content: &TokenStream) -> bool {
    match content.clone().into_iter().next() {
        Some(TokenTree::Ident(name)) => SILENT.iter().any(|silent| name == silent),
        _ => false,
    }
}

/// Takes back the `#` or `#!` that makes the brackets behind it an attribute; says whether there was one.
fn drop_hash(pieces: &mut Vec<String>) -> bool {
    let kept = match pieces.as_slice() {
        [kept @ .., hash, bang] if hash == "#" && bang == "!" => kept.len(),
        [kept @ .., hash] if hash == "#" => kept.len(),
        _ => return false,
    };
    pieces.truncate(kept);
    true
}

/// Whether a space belongs between two neighbours. It always stands where the two could be taken for one operator,
/// except between two `>`, which only types have.
fn spaced(before: &str, after: &str) -> bool {
    let is_lifetime = |piece: &str| piece.starts_with('\'') && !piece.ends_with('\'');
    let is_word = |piece: &str| piece.starts_with(|first: char| first.is_alphanumeric() || "_\"'".contains(first));
    let is_keyword = |piece: &str| KEYWORDS.contains(&piece);
    let is_operand = |piece: &str| match piece {
        ")" | "]" | ">" | ">>" => true,
        _ => is_word(piece) && !is_keyword(piece) && !is_lifetime(piece),
    };
    let opens = |piece: &str| ["(", "["].contains(&piece);
    match (before, after) {
        ("(" | "[" | "#" | "$", _) | (_, ")" | "]" | "," | ";" | ":" | ".") => false,
        (":", "::") => true,
        ("::" | ".", _) => false,
        ("!", _) => !(opens(after) || is_word(after)),
        ("?", _) => !is_word(after) || is_keyword(after),
        ("&" | "*", _) => !(opens(after) || is_word(after) || after == "<"),
        ("<", _) => !(opens(after) || is_word(after) || ["&", "*", "::"].contains(&after)),
        (_, ">" | ">>") => !(is_operand(before) || is_lifetime(before)),
        (_, "<") => !(is_operand(before) || ["impl", "for"].contains(&before)),
        (_, "::" | "!" | "?" | "(" | "[") => !is_operand(before),
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn spelled(source: &str) -> String {
        spell(source.parse::<TokenStream>().unwrap())
    }

    #[test]
    fn types_and_signatures_are_spelled_as_people_write_them() {
        for text in [
            "&'a (dyn crate::bus::Bus + 'static)",
            "Result<Vec<(String, String)>>",
            "fn(&Node, &mut Resources) -> Result<Box<dyn Driver>>",
            "[u8; LENGTH]",
            "&mut [u8]",
            "*const u8",
            "PhantomData<fn() -> &'static T>",
            "Option<::core::cmp::Ordering>",
            "#![no_std]",
            "impl<T: Published + ?Sized> Deref for Guard<T>",
            "<T as core::ops::Deref>::Target",
            "#[repr(C)] pub(crate) unsafe trait",
            "Option<Interface<'_>>",
            "impl FnOnce() + Send + 'static",
        ] {
            assert_eq!(spelled(text), text);
        }
    }

    #[test]
    fn comments_documentation_lints_and_white_space_leave_no_trace() {
        let plain = spelled("mod m { fn f(x: u8) -> u8 { x } }");
        for source in [
            "mod m {\n//! What it is for.\n fn f ( x :u8 )->u8{x}}",
            "/// Outer.\nmod m { /* why */ #[allow(dead_code, reason = \"no\")] fn f(x: u8) -> u8 { x } // done\n }",
            "#[doc(hidden)] mod m { #![allow(unused)] #[must_use] fn f(x: u8) -> u8 { x } }",
        ] {
            assert_eq!(spelled(source), plain, "{source}");
        }
    }

    #[test]
    fn what_the_compiler_tells_apart_is_spelled_apart() {
        for (one, other) in [
            ("a && b", "a & &b"),
            ("a - -b", "a -= b"),
            ("a < < b", "a << b"),
            ("a : : b", "a :: b"),
            ("x | | y", "x || y"),
            ("#[inline] fn f() {}", "fn f() {}"),
            ("x[doc]", "x"),
            ("\"a  b\"", "\"a b\""),
            ("'a'", "'a"),
        ] {
            assert_ne!(spelled(one), spelled(other));
        }
    }

    #[test]
    fn a_fingerprint_is_the_beginning_of_the_hash() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(fingerprint("abc"), "ba7816bf8f01cfea");
    }
}
