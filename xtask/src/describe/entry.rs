//! The text of one item of a description, fact by fact.

use quote::{ToTokens, quote};
use stamp::description::Role;
use syn::{Attribute, Fields, FnArg, Generics, Ident, ImplItem, ReturnType, Signature, TraitItem, Visibility};

use super::tokens::{fingerprint, spell};

/// A longer value stands in a description as its fingerprint.
const LONGEST_VALUE: usize = 200;

/// The text of an item in the making.
pub struct Entry {
    /// Its line and its facts' lines.
    pub text: String,
}

impl Entry {
    /// An item at `path`, which people call a `kind`.
    pub fn new(path: &str, kind: &str) -> Self {
        Self { text: format!("{path}\t{kind}\n") }
    }

    /// Adds a fact, its empty columns at the end left out; or none if it is about the item itself and has no content.
    pub fn fact(mut self, role: Role, name: &str, columns: impl Into<Vec<String>>) -> Self {
        let mut columns = columns.into();
        while columns.last().is_some_and(String::is_empty) {
            columns.pop();
        }
        if columns.is_empty() && name.is_empty() {
            return self;
        }
        self.text += &format!("\t{}\t{name}", role.word());
        for column in columns {
            let keep = column.len() <= LONGEST_VALUE && !column.contains(char::is_control);
            self.text += &format!("\t{}", if keep { column } else { fingerprint(&column) });
        }
        self.text.push('\n');
        self
    }

    /// Says how the item is declared.
    pub fn declared(self, attributes: &[Attribute], qualifiers: impl ToTokens) -> Self {
        self.fact(Role::Declared, "", [spell(quote!(#(#attributes)* #qualifiers))])
    }

    /// Says what the item is generic over.
    pub fn generics(self, generics: &Generics) -> Self {
        self.fact(Role::Generics, "", [parameters(generics)])
    }

    /// Adds a function.
    pub fn function(self, role: Role, name: &str, function: Function) -> Self {
        let Function { attributes, qualifiers, signature, code } = function;
        let Signature { constness, asyncness, safety, abi, generics, inputs, variadic, output, .. } = signature;
        let declared = spell(quote!(#(#attributes)* #qualifiers #constness #asyncness #safety #abi));
        let result = match output {
            ReturnType::Default => String::new(),
            ReturnType::Type(_, result) => spell(result),
        };
        let mut columns = vec![
            declared,
            parameters(generics),
            code.map(|code| fingerprint(&spell(code))).unwrap_or_default(),
            result,
        ];
        // The code knows an argument by its name; who calls it doesn't.
        columns.extend(inputs.iter().map(|input| match input {
            FnArg::Receiver(receiver) => spell(receiver),
            FnArg::Typed(typed) => spell(&typed.ty),
        }));
        columns.extend(variadic.as_ref().map(|_| "...".to_owned()));
        self.fact(role, name, columns)
    }

    /// Adds the fields of a struct or union.
    pub fn fields(self, fields: &Fields) -> Self {
        fields.iter().enumerate().fold(self, |entry, (index, field)| {
            let name = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
            let (attributes, visibility) = (&field.attrs, &field.vis);
            entry.fact(Role::Field, &name, [spell(&field.ty), spell(quote!(#(#attributes)* #visibility))])
        })
    }

    /// Adds a constant or static.
    pub fn constant(
        self,
        name: &str,
        attributes: &[Attribute],
        qualifiers: impl ToTokens,
        ty: impl ToTokens,
        value: impl ToTokens,
    ) -> Self {
        self.fact(Role::Constant, name, [spell(ty), spell(value), spell(quote!(#(#attributes)* #qualifiers))])
    }

    /// Says what an import stands for.
    pub fn import(self, target: String, attributes: &[Attribute], visibility: &Visibility) -> Self {
        self.fact(Role::Import, "", [target, spell(quote!(#(#attributes)* #visibility))])
    }

    /// Adds what no role was made for.
    pub fn other(self, name: &str, tokens: impl ToTokens) -> Self {
        self.fact(Role::Code, name, [fingerprint(&spell(tokens))])
    }
}

/// A function, wherever it stands.
pub struct Function<'a> {
    /// Its attributes.
    pub attributes: &'a [Attribute],
    /// What stands before `const` and `unsafe`.
    pub qualifiers: &'a dyn ToTokens,
    /// From `fn` to the result, and the words in front of `fn`.
    pub signature: &'a Signature,
    /// The whole function if it has a body.
    pub code: Option<&'a dyn ToTokens>,
}

/// The generic parameters, and the conditions on them.
pub fn parameters(generics: &Generics) -> String {
    let condition = &generics.where_clause;
    spell(quote!(#generics #condition))
}

/// Adds an item of a trait.
pub fn trait_item(entry: Entry, item: &TraitItem) -> Entry {
    match item {
        TraitItem::Fn(item) => {
            let defaultness = &item.modifiers.defaultness;
            let function = Function {
                attributes: &item.attrs,
                qualifiers: defaultness,
                signature: &item.sig,
                code: item.default.as_ref().map(|_| item as &dyn ToTokens),
            };
            entry.function(Role::Method, &item.sig.ident.to_string(), function)
        }
        TraitItem::Const(item) => {
            let value = item.default.as_ref().map(|(_, value)| value);
            entry.constant(&item.ident.to_string(), &item.attrs, quote!(), &item.ty, value)
        }
        TraitItem::Type(item) => {
            let (generics, attributes) = (parameters(&item.generics), &item.attrs);
            let value = item.default.as_ref().map(|(_, value)| value);
            let columns = [spell(value), spell(&item.bounds), spell(quote!(#(#attributes)*)) + &generics];
            entry.fact(Role::Type, &item.ident.to_string(), columns)
        }
        other => entry.other(&fingerprint(&spell(other)), other),
    }
}

/// Adds an item of an `impl` block: of an inherent one the entry is the item, else the block.
pub fn implementation_item(entry: Entry, item: &ImplItem, inherent: bool) -> Entry {
    let name = |ident: &Ident| if inherent { String::new() } else { ident.to_string() };
    match item {
        ImplItem::Fn(item) => {
            let (visibility, defaultness) = (&item.vis, &item.modifiers.defaultness);
            let function = Function {
                attributes: &item.attrs,
                qualifiers: &quote!(#visibility #defaultness),
                signature: &item.sig,
                code: Some(item),
            };
            let role = if inherent { Role::Function } else { Role::Method };
            entry.function(role, &name(&item.sig.ident), function)
        }
        ImplItem::Const(item) => entry.constant(&name(&item.ident), &item.attrs, &item.vis, &item.ty, &item.expr),
        ImplItem::Type(item) => {
            let (generics, attributes) = (parameters(&item.generics), &item.attrs);
            let columns = [spell(&item.ty), String::new(), spell(quote!(#(#attributes)*)) + &generics];
            entry.fact(Role::Type, &name(&item.ident), columns)
        }
        other => entry.other(&fingerprint(&spell(other)), other),
    }
}
