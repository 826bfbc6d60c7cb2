//! The paths by which the users of a crate know its items.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, UseTree, Visibility};

/// What a `use` declaration brings into its module.
pub struct Import {
    /// Where it leads, as it stands in the source: `crate::time::Instant`; a `*` at the end for a glob.
    pub target: Vec<String>,
    /// The name that it gets, `*` for a glob.
    pub name: String,
}

/// The single imports of a `use` declaration.
pub fn imports(tree: &UseTree) -> Vec<Import> {
    let single = |name: String| vec![Import { target: vec![name.clone()], name }];
    match tree {
        UseTree::Name(name) => single(name.ident.to_string()),
        UseTree::Glob(_) => single("*".to_owned()),
        UseTree::Rename(rename) => {
            vec![Import { target: vec![rename.ident.to_string()], name: rename.rename.to_string() }]
        }
        UseTree::Group(group) => group.items.iter().flat_map(imports).collect(),
        UseTree::Path(path) => {
            let mut imports = imports(&path.tree);
            for import in &mut imports {
                // `a::{self}` is `a` itself.
                if import.target == ["self"] {
                    import.target.clear();
                    if import.name == "self" {
                        import.name = path.ident.to_string();
                    }
                }
                import.target.insert(0, path.ident.to_string());
            }
            imports
        }
    }
}

/// Where the items of a crate can be reached from outside.
pub struct Names {
    /// Modules that can't be named from outside.
    private: BTreeSet<String>,
    /// Where definitions are exported, beside their own modules.
    exports: BTreeMap<String, Vec<String>>,
}

impl Names {
    /// Follows the public `use` declarations of the crate called `name`, as far as they lead to a definition directly.
    pub fn of(name: &str, items: &[Item]) -> Self {
        let mut names = Self { private: BTreeSet::new(), exports: BTreeMap::new() };
        names.visit(name, items, true);
        names
    }

    /// The path by which people know the item defined at `path`: if a private module defines it, the shortest of those
    /// by which it can be named from outside.
    pub fn known<'a>(&'a self, path: &'a str) -> &'a str {
        let exported = self.exports(path).min_by_key(|path| path.len()).filter(|_| self.is_private(path));
        exported.unwrap_or(path)
    }

    /// The path by which the item defined at `path`, which is `pub`, can be named from outside.
    pub fn outside<'a>(&'a self, path: &'a str) -> Option<&'a str> {
        Some(self.known(path)).filter(|known| *known != path || !self.is_private(path))
    }

    /// The paths by which the item defined at `path` is exported from other modules than its own.
    pub fn exports(&self, path: &str) -> impl Iterator<Item = &str> {
        self.exports.get(path).into_iter().flatten().map(String::as_str)
    }

    fn is_private(&self, path: &str) -> bool {
        path.rsplit_once("::").is_some_and(|(module, _)| self.private.contains(module))
    }

    fn visit(&mut self, module: &str, items: &[Item], visible: bool) {
        if !visible {
            self.private.insert(module.to_owned());
        }
        for item in items {
            match item {
                Item::Mod(child) => {
                    let content = child.content.as_ref().map_or(&[][..], |(_, items)| items);
                    let visible = visible && matches!(child.vis, Visibility::Public(_));
                    self.visit(&format!("{module}::{}", child.ident), content, visible);
                }
                Item::Use(item) if visible && matches!(item.vis, Visibility::Public(_)) => {
                    for Import { target, name } in imports(&item.tree) {
                        self.exports.entry(resolve(module, &target)).or_default().push(format!("{module}::{name}"));
                    }
                }
                _ => {}
            }
        }
    }
}

/// The path from the root of the crate that `path` is in `module`, if it leads into the crate.
pub fn resolve<S: AsRef<str>>(module: &str, path: &[S]) -> String {
    let mut resolved: Vec<&str> = module.split("::").collect();
    for segment in path.iter().map(AsRef::as_ref) {
        match segment {
            "crate" => resolved.truncate(1),
            "self" => {}
            "super" => _ = resolved.pop(),
            name => resolved.push(name),
        }
    }
    resolved.join("::")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_item_of_a_private_module_is_known_by_its_shortest_public_path() {
        let source = "mod node { pub struct Node; pub struct Hidden; }
            pub mod clock { pub struct Time; mod inner { pub struct Deep; } pub use self::inner::Deep as Deepest; }
            pub mod prelude { pub use crate::node::Node; pub use super::clock::Time; }
            pub use node::{Node, self as nodes};
            use node::Hidden;
            mod unseen { pub use crate::node::Hidden as Seen; }";
        let names = Names::of("abi", &syn::parse_file(source).unwrap().items);
        for (path, known, outside) in [
            ("abi::node::Node", "abi::Node", true),
            ("abi::node::Hidden", "abi::node::Hidden", false),
            ("abi::clock::Time", "abi::clock::Time", true),
            ("abi::clock::inner::Deep", "abi::clock::Deepest", true),
        ] {
            assert_eq!((names.known(path), names.outside(path)), (known, outside.then_some(known)));
        }
    }

    #[test]
    fn each_import_has_its_own_target_and_name() {
        let Item::Use(item) = syn::parse_str("use a::{b, c::{self, D as E}, f::*, g as _};").unwrap() else { panic!() };
        let told: Vec<_> =
            imports(&item.tree).into_iter().map(|import| (import.target.join("::"), import.name)).collect();
        let expected = [("a::b", "b"), ("a::c", "c"), ("a::c::D", "E"), ("a::f::*", "*"), ("a::g", "_")];
        assert_eq!(told, expected.map(|(target, name)| (target.to_owned(), name.to_owned())));
    }
}
