//! The names in an expression: which there are, whether each is known, and whether what is compared can be equal.

use std::collections::BTreeSet;
use std::fmt;

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};
use cel::parser::Expression;

use super::Error;
use super::fields::{FIELDS, Field, Kind, STEP_FIELDS};

/// The functions that make sense here. (The language has more, for times and for values that may be absent.)
const FUNCTIONS: &[&str] = &[
    "contains",
    "double",
    "endsWith",
    "int",
    "matches",
    "max",
    "min",
    "size",
    "startsWith",
    "string",
];

/// A field that an expression names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Path {
    /// `leases.max`
    Field(String, String),
    /// `steps['name'].seconds`
    Step(String, String),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(root, field) => write!(f, "{root}.{field}"),
            Self::Step(step, field) => write!(f, "steps['{step}'].{field}"),
        }
    }
}

/// The fields that an expression names, sorted.
pub(super) fn named(expression: &Expression) -> Vec<Path> {
    let mut paths = BTreeSet::new();
    let _ = walk(&expression.expr, &mut Vec::new(), &mut |expr, bound| {
        paths.extend(path(expr, bound));
        Ok(())
    });
    paths.into_iter().collect()
}

/// Whether an expression names what the audit counts.
pub(super) fn about_records(expression: &Expression) -> bool {
    let counted =
        |path: &Path| matches!(path, Path::Field(root, field) if root == "records" && field != "unreadSecondsMax");
    named(expression).iter().any(counted)
}

/// Checks every name and every comparison.
pub(super) fn check(expr: &str, expression: &Expression, before: &[&str]) -> Result<(), Error> {
    let checker = Checker { expr, before };
    walk(&expression.expr, &mut Vec::new(), &mut |part, bound| {
        checker.part(part, bound)
    })
}

struct Checker<'a> {
    expr: &'a str,
    before: &'a [&'a str],
}

impl Checker<'_> {
    fn part(&self, part: &Expr, bound: &[String]) -> Result<(), Error> {
        match part {
            Expr::Ident(name) if !bound.contains(name) && !roots().contains(&name.as_str()) => {
                self.unknown(name, name, roots().into_iter().map(str::to_owned))
            }
            Expr::Select(select) => self.select(select, bound),
            Expr::Call(call) => self.call(call, bound),
            _ => Ok(()),
        }
    }

    fn select(&self, select: &SelectExpr, bound: &[String]) -> Result<(), Error> {
        let known = |fields: Vec<&Field>| {
            fields
                .into_iter()
                .map(|field| field.name.to_owned())
                .collect::<Vec<_>>()
        };
        if let Some(step) = step_index(&select.operand.expr) {
            let fields = known(STEP_FIELDS.iter().collect());
            if !fields.contains(&select.field) {
                let name = format!("steps['{step}'].{}", select.field);
                return self.unknown(&name, &format!(".{}", select.field), fields);
            }
        }
        let Expr::Ident(root) = &select.operand.expr else {
            return Ok(());
        };
        if bound.contains(root) || !roots().contains(&root.as_str()) {
            return Ok(());
        }
        if root == "steps" {
            return self.step_is_known(&select.field);
        }
        let fields = known(FIELDS.iter().filter(|field| field.root == root).collect());
        if fields.contains(&select.field) {
            return Ok(());
        }
        let text = format!("{root}.{}", select.field);
        self.unknown(&text, &text, fields)
    }

    fn call(&self, call: &CallExpr, bound: &[String]) -> Result<(), Error> {
        let named = call.func_name.starts_with(|first: char| first.is_ascii_alphabetic());
        if named && !FUNCTIONS.contains(&call.func_name.as_str()) {
            let known = FUNCTIONS.iter().map(|&name| name.to_owned());
            return self.unknown(&format!("{}()", call.func_name), &call.func_name, known);
        }
        if let Some(step) = index_literal(call) {
            self.step_is_known(step)?;
        }
        let equality = [operators::EQUALS, operators::NOT_EQUALS].contains(&call.func_name.as_str());
        let [left, right] = call.args.as_slice() else {
            return Ok(());
        };
        if !equality {
            return Ok(());
        }
        match (kind(&left.expr, bound), kind(&right.expr, bound)) {
            (Some(Kind::Double), Some(Kind::Int)) | (Some(Kind::Int), Some(Kind::Double)) => {
                let name = [left, right].into_iter().find_map(|side| path(&side.expr, bound));
                let name = name.map_or_else(|| "one side".to_owned(), |path| format!("`{path}`"));
                Err(Error::Types {
                    expr: self.expr.to_owned(),
                    column: self.column("=="),
                    message: format!("a whole number never equals one with a fraction, and {name} is on one side"),
                    hint: "write both as 5.0 (or use double(...)), or compare with < and <=".to_owned(),
                })
            }
            _ => Ok(()),
        }
    }

    fn step_is_known(&self, step: &str) -> Result<(), Error> {
        if self.before.contains(&step) {
            return Ok(());
        }
        Err(Error::UnknownStep {
            expr: self.expr.to_owned(),
            column: self.column(step),
            name: step.to_owned(),
            known: self.before.iter().map(|&name| name.to_owned()).collect(),
        })
    }

    fn unknown(&self, name: &str, look_for: &str, known: impl IntoIterator<Item = String>) -> Result<(), Error> {
        Err(Error::Unknown {
            expr: self.expr.to_owned(),
            column: self.column(look_for),
            name: name.to_owned(),
            known: known.into_iter().collect(),
        })
    }

    /// The parser keeps no places of names, so the first place of the text has to do.
    fn column(&self, text: &str) -> usize {
        self.expr.find(text).map_or(1, |at| self.expr[..at].chars().count() + 1)
    }
}

fn roots() -> Vec<&'static str> {
    let mut roots: Vec<&str> = FIELDS.iter().map(|field| field.root).collect();
    roots.dedup();
    roots.push("steps");
    roots
}

fn path(expr: &Expr, bound: &[String]) -> Option<Path> {
    let Expr::Select(select) = expr else { return None };
    if let Some(step) = step_index(&select.operand.expr) {
        return Some(Path::Step(step.to_owned(), select.field.clone()));
    }
    match &select.operand.expr {
        Expr::Ident(root) if root != "steps" && !bound.contains(root) && roots().contains(&root.as_str()) => {
            Some(Path::Field(root.clone(), select.field.clone()))
        }
        _ => None,
    }
}

/// The step of `steps['name']` or `steps.name`.
fn step_index(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Call(call) => index_literal(call),
        Expr::Select(select) if matches!(&select.operand.expr, Expr::Ident(root) if root == "steps") => {
            Some(&select.field)
        }
        _ => None,
    }
}

fn index_literal(call: &CallExpr) -> Option<&str> {
    let [of, at] = call.args.as_slice() else { return None };
    match (&of.expr, &at.expr) {
        (Expr::Ident(root), Expr::Literal(LiteralValue::String(step)))
            if call.func_name == operators::INDEX && root == "steps" =>
        {
            Some(step.inner())
        }
        _ => None,
    }
}

/// The kind of number that an expression is, as far as it can be told.
fn kind(expr: &Expr, bound: &[String]) -> Option<Kind> {
    match expr {
        Expr::Literal(LiteralValue::Int(_)) => Some(Kind::Int),
        Expr::Literal(LiteralValue::Double(_)) => Some(Kind::Double),
        Expr::Select(_) => match path(expr, bound)? {
            Path::Field(root, name) => FIELDS
                .iter()
                .find(|field| field.root == root && field.name == name)
                .map(|field| field.kind),
            Path::Step(_, name) => STEP_FIELDS
                .iter()
                .find(|field| field.name == name)
                .map(|field| field.kind),
        },
        Expr::Call(call) if call.func_name == operators::INDEX => match kind(&call.args.first()?.expr, bound)? {
            Kind::ByWorker => Some(Kind::Int),
            _ => None,
        },
        Expr::Call(call) if call.func_name == operators::NEGATE => kind(&call.args.first()?.expr, bound),
        Expr::Call(call) if call.func_name == "double" => Some(Kind::Double),
        Expr::Call(call) if call.func_name == "int" || call.func_name == "size" => Some(Kind::Int),
        _ => None,
    }
}

type Visit<'a> = dyn FnMut(&Expr, &[String]) -> Result<(), Error> + 'a;

/// Visits every part of an expression with the names that are bound there.
fn walk(expr: &Expr, bound: &mut Vec<String>, visit: &mut Visit<'_>) -> Result<(), Error> {
    visit(expr, bound)?;
    match expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Ok(()),
        Expr::Select(select) => walk(&select.operand.expr, bound, visit),
        Expr::Call(call) => {
            let target = call.target.iter().map(|target| &target.expr);
            let parts: Vec<&Expr> = target.chain(call.args.iter().map(|arg| &arg.expr)).collect();
            parts.into_iter().try_for_each(|part| walk(part, bound, visit))
        }
        Expr::List(list) => list
            .elements
            .iter()
            .try_for_each(|element| walk(&element.expr, bound, visit)),
        Expr::Map(map) => map
            .entries
            .iter()
            .try_for_each(|entry| walk_entry(&entry.expr, bound, visit)),
        Expr::Struct(made) => made
            .entries
            .iter()
            .try_for_each(|entry| walk_entry(&entry.expr, bound, visit)),
        Expr::Comprehension(each) => {
            walk(&each.iter_range.expr, bound, visit)?;
            walk(&each.accu_init.expr, bound, visit)?;
            let outside = bound.len();
            bound.extend([each.iter_var.clone(), each.accu_var.clone()]);
            bound.extend(each.iter_var2.clone());
            for part in [&each.loop_cond, &each.loop_step, &each.result] {
                walk(&part.expr, bound, visit)?;
            }
            bound.truncate(outside);
            Ok(())
        }
    }
}

fn walk_entry(entry: &EntryExpr, bound: &mut Vec<String>, visit: &mut Visit<'_>) -> Result<(), Error> {
    match entry {
        EntryExpr::StructField(field) => walk(&field.value.expr, bound, visit),
        EntryExpr::MapEntry(entry) => {
            walk(&entry.key.expr, bound, visit)?;
            walk(&entry.value.expr, bound, visit)
        }
    }
}
