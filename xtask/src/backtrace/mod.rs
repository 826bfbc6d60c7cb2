//! `x backtrace`: tells the source lines of the backtraces in a console's log.

mod image;
mod line;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cargo::Workspace;
use crate::console;
use image::Image;
use line::Line;

/// Prints the backtraces in a console's log, each line with where that is in the source, functions that were inlined
/// there first.
pub fn backtrace(workspace: &Workspace, log: Option<&str>) -> Result<()> {
    let log = console::read(workspace, log)?;
    let lines: Vec<Option<Line<'_>>> = log.lines().map(Line::parse).collect();
    ensure!(lines.iter().any(Option::is_some), "there is no backtrace: lines like `0xffffffff80012345 function+0x12`");

    let mut kernel = Image::kernel(&workspace.out().join("kernel.elf"))?;
    kernel.find_place(lines.iter().flatten().filter(|line| line.module.is_none()));
    let mut modules = BTreeMap::new();
    let (mut last, mut others) = (0, 0);
    for (number, line) in lines.iter().enumerate().filter_map(|(number, line)| Some((number, line.as_ref()?))) {
        if number > last + 1 && last > 0 {
            println!();
        }
        last = number;
        println!("{line}");
        let (image, address) = match line.module {
            None => (Some(&kernel), line.address),
            Some((name, offset)) => {
                let image = match modules.get(name) {
                    Some(image) => image,
                    None => modules.entry(name).or_insert(module(workspace, name)?),
                };
                (image.as_ref(), offset)
            }
        };
        let Some(image) = image else {
            println!("    there is no {}.o in out/modules", line.module.map_or("", |(name, _)| name));
            continue;
        };
        if !image.agrees(address, line) {
            println!("    out/ has another function there");
            others += 1;
            continue;
        }
        for (index, frame) in image.frames(address)?.into_iter().enumerate() {
            let inlined = if index > 0 { "(inlined by) " } else { "" };
            println!("    {inlined}{}", frame.within(&workspace.root));
        }
    }
    ensure!(others == 0, "{others} lines name other functions than out/ has there: the log is another build's");
    Ok(())
}

/// A module with its debugging information, if it is one of those that were built here.
fn module(workspace: &Workspace, name: &str) -> Result<Option<Image>> {
    let path = |folder: &str| workspace.out().join(folder).join(format!("{name}.o"));
    let found: Option<PathBuf> = ["modules", "test-modules"].into_iter().map(path).find(|path| path.exists());
    found.map(|path| Image::module(&path)).transpose()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}; ./x build makes it", path.display()))
}
