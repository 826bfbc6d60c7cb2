//! From a crate's expanded source to the items of its description.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use proc_macro2::TokenStream;
use quote::quote;
use stamp::description::Role;
use syn::{
    Attribute, Fields, File, ForeignItem, GenericParam, Generics, Ident, ImplItem, Item, ItemImpl, Type, Visibility,
};

use super::entry::{Entry, Function, implementation_item, trait_item};
use super::layouts::Layout;
use super::names::{Names, imports, resolve};
use super::tokens::{fingerprint, spell};

/// A crate's source, its macros expanded.
pub struct Expanded<'a> {
    name: &'a str,
    file: File,
    names: Names,
}

impl<'a> Expanded<'a> {
    /// Reads the source of the crate called `name`.
    pub fn parse(name: &'a str, source: &str) -> Result<Self> {
        let file = syn::parse_file(source).context("cannot parse the expanded source")?;
        Ok(Self { name, names: Names::of(name, &file.items), file })
    }

    /// The types whose layout does not depend on parameters, as they can be written outside the crate.
    pub fn types(&self) -> Vec<String> {
        let mut types = Vec::new();
        self.types_of(self.name, &self.file.items, &mut types);
        types
    }

    fn types_of(&self, module: &str, items: &[Item], types: &mut Vec<String>) {
        for item in items {
            let (name, visibility, generics) = match item {
                Item::Struct(item) => (&item.ident, &item.vis, &item.generics),
                Item::Enum(item) => (&item.ident, &item.vis, &item.generics),
                Item::Union(item) => (&item.ident, &item.vis, &item.generics),
                Item::Mod(item) => {
                    let items = item.content.as_ref().map_or(&[][..], |(_, items)| items);
                    self.types_of(&format!("{module}::{}", item.ident), items, types);
                    continue;
                }
                _ => continue,
            };
            let path = format!("{module}::{name}");
            let public = matches!(visibility, Visibility::Public(_));
            let lifetimes =
                generics.params.iter().filter(|parameter| matches!(parameter, GenericParam::Lifetime(_))).count();
            if let Some(path) = self.names.outside(&path).filter(|_| public && lifetimes == generics.params.len()) {
                let arguments = vec!["'static"; lifetimes].join(", ");
                types.push(if lifetimes == 0 { path.to_owned() } else { format!("{path}<{arguments}>") });
            }
        }
    }

    /// The items, each the text of its line and of its facts' lines.
    pub fn describe(&self, layouts: &BTreeMap<String, Layout>) -> Result<Vec<String>> {
        let mut items =
            Items { expanded: self, layouts, order: String::new(), derived: BTreeMap::new(), done: Vec::new() };
        items.module(self.name, &self.file.items)?;
        // What claims to be derived for a type that is defined elsewhere.
        for (path, (names, code)) in std::mem::take(&mut items.derived) {
            let entry = Entry::new(&format!("{path}::{{derived}}"), "implementation");
            items.add(entry.fact(Role::Derived, "", [names, fingerprint(&code)]));
        }
        let root = Entry::new(self.name, "crate").declared(&self.file.attrs, quote!());
        items.add(root.fact(Role::Order, "", [fingerprint(&items.order)]));
        Ok(items.done)
    }
}

/// The head of an `impl` block: everything in front of its brace.
fn head(implementation: &ItemImpl) -> String {
    let head = ItemImpl { attrs: Vec::new(), items: Vec::new(), ..implementation.clone() };
    spell(head).trim_end_matches(" { }").to_owned()
}

/// The trait and the type of an implementation that a `derive` attribute stands for.
fn derived(block: &ItemImpl) -> Option<(&Ident, &Ident)> {
    let derived = block.attrs.iter().any(|attribute| attribute.path().is_ident("automatically_derived"));
    match (&block.trait_, &*block.self_ty) {
        (Some((name, _)), Type::Path(owner)) if derived => {
            Some((&name.segments.last()?.ident, &owner.path.segments.last()?.ident))
        }
        _ => None,
    }
}

/// The items that have been described.
struct Items<'a> {
    expanded: &'a Expanded<'a>,
    layouts: &'a BTreeMap<String, Layout>,
    /// All implementations in their order.
    order: String,
    /// What the types derive, by the paths of their definitions: the names of the traits, and the code.
    derived: BTreeMap<String, (String, String)>,
    done: Vec<String>,
}

impl Items<'_> {
    fn add(&mut self, entry: Entry) {
        self.done.push(entry.text);
    }

    fn known(&self, module: &str, name: &Ident) -> String {
        self.expanded.names.known(&format!("{module}::{name}")).to_owned()
    }

    /// Describes what is in a module.
    fn module(&mut self, path: &str, items: &[Item]) -> Result<()> {
        for item in items {
            let Item::Impl(item) = item else { continue };
            self.order += &format!("{path} {}\n", head(item));
            if let Some((name, owner)) = derived(item) {
                let (names, code) = self.derived.entry(format!("{path}::{owner}")).or_default();
                let comma = if names.is_empty() { "" } else { ", " };
                *names += &format!("{comma}{name}");
                *code += &spell(item);
            }
        }
        items.iter().try_for_each(|item| self.item(path, item))
    }

    fn item(&mut self, module: &str, item: &Item) -> Result<()> {
        match item {
            Item::Struct(item) => {
                let kind = match item.fields {
                    Fields::Named(_) => "struct",
                    Fields::Unnamed(_) => "tuple struct",
                    Fields::Unit => "unit struct",
                };
                let entry = self.type_entry(module, &item.ident, kind, &item.attrs, &item.vis, &item.generics);
                let entry = entry.fields(&item.fields);
                self.add_type(entry, module, &item.ident);
            }
            Item::Union(item) => {
                let entry = self.type_entry(module, &item.ident, "union", &item.attrs, &item.vis, &item.generics);
                let entry = entry.fields(&Fields::Named(item.fields.clone()));
                self.add_type(entry, module, &item.ident);
            }
            Item::Enum(item) => {
                let mut entry = self.type_entry(module, &item.ident, "enum", &item.attrs, &item.vis, &item.generics);
                for variant in &item.variants {
                    let attributes = &variant.attrs;
                    let value = variant.discriminant.as_ref().map(|(_, value)| spell(value)).unwrap_or_default();
                    let columns = [spell(&variant.fields), value, spell(quote!(#(#attributes)*))];
                    entry = entry.fact(Role::Variant, &variant.ident.to_string(), columns);
                }
                self.add_type(entry, module, &item.ident);
            }
            Item::Type(item) => {
                let entry = self.type_entry(module, &item.ident, "type alias", &item.attrs, &item.vis, &item.generics);
                self.add(entry.fact(Role::Type, "", [spell(&item.ty)]));
            }
            Item::Trait(item) => {
                let (visibility, safety, auto) = (&item.vis, &item.unsafety, &item.modifiers.auto_token);
                let mut entry = Entry::new(&self.known(module, &item.ident), "trait")
                    .declared(&item.attrs, quote!(#visibility #safety #auto))
                    .generics(&item.generics)
                    .fact(Role::Supertraits, "", [spell(&item.supertraits)]);
                for item in &item.items {
                    entry = trait_item(entry, item);
                }
                self.add(entry);
            }
            Item::Fn(item) => {
                let function =
                    Function { attributes: &item.attrs, qualifiers: &item.vis, signature: &item.sig, code: Some(item) };
                let entry = Entry::new(&self.known(module, &item.sig.ident), "function");
                self.add(entry.function(Role::Function, "", function));
            }
            Item::ForeignMod(block) => {
                let (attributes, unsafety, abi) = (&block.attrs, &block.unsafety, &block.abi);
                for item in &block.items {
                    self.foreign_item(module, &quote!(#(#attributes)* #unsafety #abi), item);
                }
            }
            Item::Const(item) => {
                let entry = Entry::new(&self.known(module, &item.ident), "constant").generics(&item.generics);
                self.add(entry.constant("", &item.attrs, &item.vis, &item.ty, &item.expr));
            }
            Item::Static(item) => {
                let (mutability, ty) = (&item.mutability, &item.ty);
                let entry = Entry::new(&self.known(module, &item.ident), "static");
                self.add(entry.constant("", &item.attrs, &item.vis, quote!(#mutability #ty), &item.expr));
            }
            Item::Impl(item) if derived(item).is_some() => {}
            Item::Impl(item) => self.implementation(module, item),
            Item::Macro(item) => {
                // Other macros leave nothing behind but what they expand to.
                let exported = item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
                if let Some(name) = item.ident.as_ref().filter(|_| exported) {
                    let entry = Entry::new(&format!("{}::{name}!", self.expanded.name), "macro");
                    self.add(entry.declared(&item.attrs, quote!()).other("", &item.mac.tokens));
                }
            }
            Item::Use(item) => {
                for import in imports(&item.tree) {
                    let root = item.leading_colon.map_or("", |_| "::");
                    let target = format!("{root}{}", import.target.join("::"));
                    self.add(Entry::new(&format!("{module}::{}", import.name), "import").import(
                        target,
                        &item.attrs,
                        &item.vis,
                    ));
                }
            }
            Item::ExternCrate(item) => {
                let name = item.rename.as_ref().map_or(&item.ident, |(_, name)| name);
                let target = format!("extern crate {}", item.ident);
                self.add(Entry::new(&format!("{module}::{name}"), "import").import(target, &item.attrs, &item.vis));
            }
            Item::Mod(item) => {
                let path = format!("{module}::{}", item.ident);
                let (_, items) = item.content.as_ref().with_context(|| format!("{path} has not been expanded"))?;
                self.add(Entry::new(&path, "module").declared(&item.attrs, &item.vis));
                self.module(&path, items)?;
            }
            other => {
                let text = spell(other);
                let entry = Entry::new(&format!("{module}::{{{}}}", fingerprint(&text)), "item");
                self.add(entry.other("", other));
            }
        }
        Ok(())
    }

    fn type_entry(
        &self,
        module: &str,
        name: &Ident,
        kind: &str,
        attributes: &[Attribute],
        visibility: &Visibility,
        generics: &Generics,
    ) -> Entry {
        Entry::new(&self.known(module, name), kind).declared(attributes, visibility).generics(generics)
    }

    /// Adds a type, with what is known of it beside its definition.
    fn add_type(&mut self, mut entry: Entry, module: &str, name: &Ident) {
        let path = format!("{module}::{name}");
        if let Some((names, code)) = self.derived.remove(&path) {
            entry = entry.fact(Role::Derived, "", [names, fingerprint(&code)]);
        }
        // The compiler chooses among the paths by rules of its own.
        let names = &self.expanded.names;
        let layout = names.exports(&path).chain([path.as_str()]).find_map(|path| self.layouts.get(path));
        if let Some(Layout { size, alignment, offsets }) = layout {
            entry = entry.fact(Role::Layout, "", [size.to_string(), alignment.to_string(), offsets.clone()]);
        }
        self.add(entry);
    }

    fn foreign_item(&mut self, module: &str, block: &TokenStream, item: &ForeignItem) {
        match item {
            ForeignItem::Fn(item) => {
                let visibility = &item.vis;
                let entry = Entry::new(&self.known(module, &item.sig.ident), "function");
                let function = Function {
                    attributes: &item.attrs,
                    qualifiers: &quote!(#visibility #block),
                    signature: &item.sig,
                    code: None,
                };
                self.add(entry.function(Role::Function, "", function));
            }
            ForeignItem::Static(item) => {
                let (visibility, mutability, ty) = (&item.vis, &item.mutability, &item.ty);
                let entry = Entry::new(&self.known(module, &item.ident), "static");
                self.add(entry.constant(
                    "",
                    &item.attrs,
                    quote!(#visibility #block),
                    quote!(#mutability #ty),
                    quote!(),
                ));
            }
            other => {
                let text = spell(other);
                self.add(Entry::new(&format!("{module}::{{{}}}", fingerprint(&text)), "item").other("", other));
            }
        }
    }

    fn implementation(&mut self, module: &str, block: &ItemImpl) {
        let head = head(block);
        if block.trait_.is_some() {
            let entry = Entry::new(&format!("{module}::{{{head}}}"), "implementation").declared(&block.attrs, quote!());
            return self.add(block.items.iter().fold(entry, |entry, item| implementation_item(entry, item, false)));
        }
        let owner = match &*block.self_ty {
            Type::Path(path) => {
                let segments: Vec<_> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
                self.expanded.names.known(&resolve(module, &segments)).to_owned()
            }
            _ => format!("{module}::{{{head}}}"),
        };
        let within = if block.generics.params.is_empty() { "" } else { &head };
        for item in &block.items {
            let (name, kind) = match item {
                ImplItem::Fn(item) => (item.sig.ident.to_string(), "function"),
                ImplItem::Const(item) => (item.ident.to_string(), "constant"),
                other => (format!("{{{}}}", fingerprint(&spell(other))), "item"),
            };
            let entry = Entry::new(&format!("{owner}::{name}"), kind).fact(Role::Within, "", [within.to_owned()]);
            self.add(implementation_item(entry, item, true));
        }
    }
}
