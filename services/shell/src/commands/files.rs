//! Commands about files.

use super::{Failure, block, system};
use crate::files::{self, Path, Writer};
use crate::table::{Column, Table, one_line};
use crate::terminal::Terminal;
use abi::file::{Entry, Kind};
use abi::prelude::*;

pub fn mount(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    let (size, used, read_only) = (Column::Right("SIZE"), Column::Right("USED"), Column::Right("RO"));
    let mut table =
        Table::new([Column::Left("PATH"), Column::Left("TYPE"), size, used, read_only, Column::Left("DEVICE")]);
    for volume in files::volumes()? {
        let (size, used) = (block::short(volume.size), block::short(volume.used));
        let read_only = u8::from(volume.read_only).to_string();
        table.row([format!("/{}", volume.name), volume.format, size, used, read_only, volume.device]);
    }
    write!(terminal, "{table}");
    Ok(())
}

pub fn ls(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let (long, paths) = option("-l", arguments)?;
    for path in if paths.is_empty() { &["/"] } else { paths } {
        let path = Path::new(path)?;
        let status = path.status()?;
        let entries = match status.kind {
            Kind::Directory => path.list()?,
            Kind::File => vec![Entry { name: path.text().to_owned(), status }],
        };
        if paths.len() > 1 && status.kind == Kind::Directory {
            writeln!(terminal, "{}:", path.text());
        }
        show(terminal, long, &entries)?;
    }
    Ok(())
}

/// Shows entries, directories with a `/` behind the name.
fn show(terminal: &mut Terminal, long: bool, entries: &[Entry]) -> Result<(), Failure> {
    let name = |entry: &Entry| match entry.status.kind {
        Kind::Directory => format!("{}/", entry.name),
        Kind::File => entry.name.clone(),
    };
    if long {
        let mut table = Table::new([Column::Right("LENGTH"), Column::Left("MODIFIED"), Column::Left("NAME")]);
        for entry in entries {
            let modified =
                entry.status.modified.map_or(Ok("-".to_owned()), |time| system::date_and_time(time.as_secs()))?;
            table.row([entry.status.length.to_string(), modified, name(entry)]);
        }
        write!(terminal, "{table}");
    } else {
        entries.iter().for_each(|entry| writeln!(terminal, "{}", one_line(name(entry))));
    }
    Ok(())
}

pub fn cat(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    for path in at_least_one(arguments)? {
        Path::new(path)?.read(|piece| {
            terminal.write_bytes(piece)?;
            not_interrupted(terminal)
        })?;
    }
    Ok(())
}

pub fn echo(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    writeln!(terminal, "{}", arguments.join(" "));
    Ok(())
}

pub fn cp(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let (all, paths) = option("-r", arguments)?;
    for (source, target) in targets(paths)? {
        if !all && source.is_directory()? {
            return Err(Error::Invalid(format!("{} is a directory; -r copies what is in it", source.text())).into());
        }
        copy(terminal, &source, &target)?;
    }
    Ok(())
}

pub fn mv(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    for (source, target) in targets(arguments)? {
        if source.volume() == target.volume() {
            source.rename(&target)?;
        } else {
            copy(terminal, &source, &target)?;
            remove(terminal, &source)?;
        }
    }
    Ok(())
}

pub fn rm(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let (all, paths) = option("-r", arguments)?;
    for path in at_least_one(paths)? {
        let path = Path::new(path)?;
        match all {
            true => remove(terminal, &path)?,
            false if path.is_directory()? => {
                let sentence = format!("{} is a directory; -r removes it with what is in it", path.text());
                return Err(Error::Invalid(sentence).into());
            }
            false => path.remove()?,
        }
    }
    Ok(())
}

pub fn mkdir(_terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    at_least_one(arguments)?.iter().try_for_each(|path| Ok(Path::new(path)?.make_directory()?))
}

pub fn sync(_terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    Ok(files::sync()?)
}

/// Whether the first argument is that option; and the arguments that are paths.
fn option<'a>(name: &str, arguments: &'a [&'a str]) -> Result<(bool, &'a [&'a str]), Failure> {
    match arguments {
        [first, rest @ ..] if *first == name => Ok((true, rest)),
        [first, ..] if first.starts_with('-') => Err(Failure::Usage),
        paths => Ok((false, paths)),
    }
}

fn at_least_one<'a>(paths: &'a [&'a str]) -> Result<&'a [&'a str], Failure> {
    if paths.is_empty() { Err(Failure::Usage) } else { Ok(paths) }
}

/// From where to where: the last path is the target, or the directory for several.
fn targets(paths: &[&str]) -> Result<Vec<(Path, Path)>, Failure> {
    let Some((target, sources @ [_, ..])) = paths.split_last() else { return Err(Failure::Usage) };
    let target = Path::new(target)?;
    let is_directory = target.is_directory()?;
    if sources.len() > 1 && !is_directory {
        return Err(Error::Invalid(format!("{} is no directory", target.text())).into());
    }
    let mut pairs = Vec::new();
    for source in sources {
        let source = Path::new(source)?;
        let target = if is_directory { target.join(source.name())? } else { target.clone() };
        // FAT doesn't tell upper case from lower.
        let (from, to) = (source.text().to_lowercase(), target.text().to_lowercase());
        if to.strip_prefix(&from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Error::Invalid(format!("{} lies within {}", target.text(), source.text())).into());
        }
        source.status()?;
        pairs.push((source, target));
    }
    Ok(pairs)
}

/// Copies a file, or a directory with all that is in it.
fn copy(terminal: &mut Terminal, source: &Path, target: &Path) -> Result<(), Failure> {
    if source.text().to_lowercase() == target.text().to_lowercase() {
        return Err(Error::Invalid(format!("{} can't be copied to itself", source.text())).into());
    }
    if source.is_directory()? {
        if !target.is_directory()? {
            target.make_directory()?;
        }
        return source
            .list()?
            .iter()
            .try_for_each(|entry| copy(terminal, &source.join(&entry.name)?, &target.join(&entry.name)?));
    }
    let mut writer = Writer::new(target.clone(), false)?;
    source.read(|piece| {
        writer.write(piece)?;
        not_interrupted(terminal)
    })?;
    Ok(writer.flush()?)
}

/// Removes a file, or a directory with all that is in it.
fn remove(terminal: &mut Terminal, path: &Path) -> Result<(), Failure> {
    not_interrupted(terminal)?;
    if path.is_directory()? {
        path.list()?.iter().try_for_each(|entry| remove(terminal, &path.join(&entry.name)?))?;
    }
    Ok(path.remove()?)
}

/// Ends a command after Ctrl-C.
fn not_interrupted(terminal: &mut Terminal) -> Result<(), Failure> {
    match terminal.is_interrupted_before(Instant::now())? {
        true => Err(Failure::Interrupted),
        false => Ok(()),
    }
}
