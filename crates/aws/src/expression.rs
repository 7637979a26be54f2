//! One conditional write of one item, as DynamoDB's expressions, before it is sent.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::item::{Item, n};

/// A write that is not sent yet. Every attribute name stands behind a `#`, so that no reserved word is in the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expression {
    key: BTreeMap<&'static str, AttributeValue>,
    conditions: Vec<String>,
    sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    values: BTreeMap<String, AttributeValue>,
    deletes: bool,
}

impl Expression {
    /// A write of the item with this key.
    pub(crate) fn of(key: impl IntoIterator<Item = (&'static str, AttributeValue)>) -> Self {
        Self {
            key: key.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Removes the whole item.
    pub(crate) fn delete(mut self) -> Self {
        self.deletes = true;
        self
    }

    /// Requires `condition`, with `#name` and `:value` in it.
    pub(crate) fn when(mut self, condition: &str) -> Self {
        self.conditions.push(condition.to_owned());
        self
    }

    /// Gives a `:value` its value.
    pub(crate) fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(format!(":{name}"), value);
        self
    }

    /// Requires the attribute to be `value`, or to be absent.
    pub(crate) fn when_is(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => {
                let name = format!("{attribute}Is");
                self.when(&format!("#{attribute} = :{name}")).value(&name, value)
            }
            None => self.when(&format!("attribute_not_exists(#{attribute})")),
        }
    }

    /// Requires the number to be `value`, where an absent one counts as 0.
    pub(crate) fn when_count_is(self, attribute: &str, value: u64) -> Self {
        if value > 0 {
            return self.when_is(attribute, Some(n(value)));
        }
        let name = format!("{attribute}Is");
        let condition = format!("(attribute_not_exists(#{attribute}) OR #{attribute} = :{name})");
        self.when(&condition).value(&name, n(0))
    }

    /// Sets the attribute, or removes it.
    pub(crate) fn set(mut self, attribute: &str, value: impl Into<Option<AttributeValue>>) -> Self {
        match value.into() {
            Some(value) => {
                self.sets.push(format!("#{attribute} = :{attribute}"));
                self.value(attribute, value)
            }
            None => {
                self.removes.push(format!("#{attribute}"));
                self
            }
        }
    }

    /// Sets the attribute to what an expression says.
    pub(crate) fn set_to(mut self, attribute: &str, expression: &str) -> Self {
        self.sets.push(format!("#{attribute} = {expression}"));
        self
    }

    /// Sets the attribute unless it is there.
    pub(crate) fn set_if_absent(self, attribute: &str, value: AttributeValue) -> Self {
        let keep = format!("if_not_exists(#{attribute}, :{attribute})");
        self.set_to(attribute, &keep).value(attribute, value)
    }

    /// Adds 1 to a number; an absent one counts as 0.
    pub(crate) fn count(mut self, attribute: &str) -> Self {
        self.adds.push(format!("#{attribute} :one"));
        self.value("one", n(1))
    }

    /// Adds members to a set.
    pub(crate) fn add_all(mut self, attribute: &str, members: AttributeValue) -> Self {
        self.adds.push(format!("#{attribute} :{attribute}"));
        self.value(attribute, members)
    }

    pub(crate) fn is_delete(&self) -> bool {
        self.deletes
    }

    pub(crate) fn key(&self) -> Item {
        self.key
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    }

    /// The condition, when there is one.
    pub(crate) fn condition(&self) -> Option<String> {
        (!self.conditions.is_empty()).then(|| self.conditions.join(" AND "))
    }

    /// The update, when it is not a delete.
    pub(crate) fn update(&self) -> Option<String> {
        let clause = |verb: &str, parts: &[String]| (!parts.is_empty()).then(|| format!("{verb} {}", parts.join(", ")));
        let clauses = [
            clause("SET", &self.sets),
            clause("REMOVE", &self.removes),
            clause("ADD", &self.adds),
        ];
        let clauses: Vec<String> = clauses.into_iter().flatten().collect();
        (!clauses.is_empty()).then(|| clauses.join(" "))
    }

    /// What every `#name` in it stands for.
    pub(crate) fn names(&self) -> HashMap<String, String> {
        let text = [self.condition(), self.update()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ");
        let after_hash = text.split('#').skip(1);
        let name = |rest: &str| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
        after_hash.map(name).map(|name| (format!("#{name}"), name)).collect()
    }

    pub(crate) fn values(&self) -> HashMap<String, AttributeValue> {
        self.values
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// For snapshots: one line per part, values in the order of their names.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.deletes { "delete" } else { "update" };
        write!(f, "{verb}")?;
        for (name, value) in &self.key {
            write!(f, " {name} {value:?}")?;
        }
        for condition in &self.conditions {
            write!(f, "\n  if {condition}")?;
        }
        if let Some(update) = self.update() {
            write!(f, "\n  {update}")?;
        }
        for (name, value) in &self.values {
            write!(f, "\n    {name} {value:?}")?;
        }
        Ok(())
    }
}
