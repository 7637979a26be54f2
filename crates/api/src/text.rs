//! YAML as a tree that remembers where everything stands.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::{Location, Spanned};

/// Line and column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A text's values, and the place of each by its path.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) value: Value,
    keys: BTreeMap<String, Place>,
    values: BTreeMap<String, Place>,
}

/// Why a text is not one document.
#[derive(Debug)]
pub(crate) enum NotOne {
    /// It is not YAML.
    Yaml(serde_saphyr::Error),
    /// Another document begins there.
    Several(Place),
}

impl Text {
    /// Reads the one document that is not empty: tools that write YAML leave empty ones, and kubectl passes over them.
    /// Numbers are those of kubectl too, which takes `010` for eight.
    pub(crate) fn parse(text: &str) -> Result<Self, NotOne> {
        let options = serde_saphyr::options! { legacy_octal_numbers: true, reject_unsupported_tags: true };
        let mut roots: Vec<Spanned<Node>> =
            serde_saphyr::from_multiple_with_options(text, options).map_err(NotOne::Yaml)?;
        if let Some(second) = roots.get(1) {
            return Err(NotOne::Several(point(second.referenced)));
        }
        let Some(root) = roots.pop() else {
            return Ok(Self {
                value: Value::Null,
                keys: BTreeMap::new(),
                values: BTreeMap::new(),
            });
        };
        let (mut keys, mut values) = (BTreeMap::new(), BTreeMap::new());
        let value = place(root, String::new(), &mut keys, &mut values);
        Ok(Self { value, keys, values })
    }

    /// Where the value of a path stands; of one that is not there, where the nearest thing around it stands.
    pub(crate) fn value_at(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.values.get(path) {
                return Some(*place);
            }
            let shorter = path.rfind(['.', '['])?;
            path = &path[..shorter];
        }
    }

    /// Where the key of a path stands.
    pub(crate) fn key_at(&self, path: &str) -> Option<Place> {
        self.keys.get(path).copied().or_else(|| self.value_at(path))
    }
}

/// The path of a field of the thing at `path`.
pub(crate) fn field(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[derive(Debug)]
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

fn place(
    node: Spanned<Node>,
    path: String,
    keys: &mut BTreeMap<String, Place>,
    values: &mut BTreeMap<String, Place>,
) -> Value {
    values.insert(path.clone(), point(node.referenced));
    match node.value {
        Node::Scalar(value) => value,
        Node::List(items) => {
            let numbered = items.into_iter().enumerate();
            Value::Array(
                numbered
                    .map(|(at, item)| place(item, format!("{path}[{at}]"), keys, values))
                    .collect(),
            )
        }
        Node::Map(fields) => {
            let mut map = Map::new();
            for (key, value) in fields {
                let path = field(&path, &key.value);
                keys.insert(path.clone(), point(key.referenced));
                let value = place(value, path, keys, values);
                map.insert(key.value, value);
            }
            Value::Object(map)
        }
    }
}

pub(crate) fn point(location: Location) -> Place {
    Place {
        line: location.line(),
        column: location.column(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(
            i64::try_from(value).map_or_else(|_| value.into(), Value::from),
        ))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = fields.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}
