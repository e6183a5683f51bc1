//! The JSON Schemas of documents as lists: which fields there are, and which of them a document uses where.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{
    schema,
    yaml::{Node, Place},
};
use serde_json::Value;

/// The kinds of document that people write, each with its schema.
pub const KINDS: [(&str, &str); 4] = [
    ("contract", schema::CONTRACT),
    ("policy", schema::POLICY),
    ("policy-group", schema::POLICY_GROUP),
    ("policy-test", schema::POLICY_TEST),
];

/// A key that a map may have. Maps that are described once and used in several places are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    /// The map, as a path into the schemas that begins with the kind of document.
    pub map: String,
    /// The key.
    pub key: String,
    /// The values that there are, when the list of them is closed.
    pub values: Vec<String>,
    /// The path of that list. Fields that take the same values share one.
    pub list: String,
}

impl Field {
    /// The path of the field.
    pub fn at(&self) -> String {
        format!("{}/{}", self.map, self.key)
    }
}

/// Where a document uses a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The field's path.
    pub at: String,
    /// The key as it was written.
    pub key: String,
    /// The scalars that it was given: one, or the items of a list.
    pub values: Vec<String>,
    /// Where those stand. A finding there can be about nothing else.
    pub of_values: Vec<Place>,
    /// Where the key, the map around it, and what is in its value stand. A finding there has to name the key.
    pub around: Vec<Place>,
}

/// A map of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Its path into the schemas.
    pub at: String,
    /// Where it is in the document, as a JSON pointer.
    pub pointer: String,
    /// Where it begins.
    pub place: Place,
}

/// All schemas.
pub struct Schemas(BTreeMap<&'static str, Value>);

/// A node of a schema with its path.
type At<'s> = (String, &'s Value);

impl Schemas {
    pub fn load() -> Self {
        let all: BTreeMap<&'static str, Value> =
            KINDS.iter().map(|(kind, text)| (*kind, serde_json::from_str(text).unwrap())).collect();
        // A policy inside of another document is a policy like any other.
        let mut policy = all["policy"].clone();
        let head = ["$schema", "$id", "title", "$defs"];
        policy.as_object_mut().unwrap().retain(|key, _| !head.contains(&key.as_str()));
        for kind in ["contract", "policy-group"] {
            assert_eq!(all[kind]["$defs"]["policy"], policy, "a policy in a {kind} has a schema of its own");
        }
        Self(all)
    }

    /// Every field of every kind of document.
    pub fn fields(&self) -> BTreeSet<Field> {
        let (mut fields, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for (kind, schema) in &self.0 {
            self.list(((*kind).to_owned(), schema), &mut fields, &mut seen);
        }
        fields
    }

    fn list<'s>(&'s self, at: At<'s>, fields: &mut BTreeSet<Field>, seen: &mut BTreeSet<String>) {
        let (path, schema) = self.follow(at);
        if !seen.insert(path.clone()) {
            return;
        }
        for (n, branch) in schema["oneOf"].as_array().into_iter().flatten().enumerate() {
            self.list((format!("{path}/{n}"), branch), fields, seen);
        }
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            let child = self.follow((format!("{path}/{key}"), value));
            let (list, values) = self.values(&child);
            fields.insert(Field { map: path.clone(), key: key.clone(), values, list });
            self.list(child, fields, seen);
        }
        if schema["items"].is_object() {
            self.list((format!("{path}[]"), &schema["items"]), fields, seen);
        }
    }

    /// The closed list of values of a field, or of the items of its list.
    fn values(&self, (path, schema): &At<'_>) -> (String, Vec<String>) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let values = match (schema["enum"].as_array(), &schema["const"]) {
            (Some(values), _) => values.iter().map(text).collect(),
            (None, Value::String(only)) => vec![only.clone()],
            _ if schema["type"] == "boolean" => vec!["true".to_owned(), "false".to_owned()],
            _ if schema["items"].is_object() => {
                return self.values(&self.follow((format!("{path}[]"), &schema["items"])));
            }
            _ => Vec::new(),
        };
        (path.clone(), values)
    }

    /// What a `$ref` leads to, under the path of the definition.
    fn follow<'s>(&'s self, (path, schema): At<'s>) -> At<'s> {
        let Some(name) = schema["$ref"].as_str().map(|reference| reference.strip_prefix("#/$defs/").unwrap()) else {
            return (path, schema);
        };
        let kind = path.split('/').next().unwrap().trim_end_matches("[]");
        match name {
            "policy" => ("policy".to_owned(), &self.0["policy"]),
            name => (format!("{kind}/${name}"), &self.0[kind]["$defs"][name]),
        }
    }

    /// The fields that a document of a kind uses, and its maps.
    pub fn read(&self, kind: &str, document: &Node) -> (Vec<Use>, Vec<Map>) {
        let (mut uses, mut maps) = (Vec::new(), Vec::new());
        self.visit((kind.to_owned(), &self.0[kind]), document, "", &mut uses, &mut maps);
        (uses, maps)
    }

    fn visit<'s>(&'s self, at: At<'s>, node: &Node, pointer: &str, uses: &mut Vec<Use>, maps: &mut Vec<Map>) {
        let (path, schema) = self.follow(at);
        if let Some(branches) = schema["oneOf"].as_array() {
            // The shape that knows most of what is written.
            let known = |branch: &Value| {
                let entries = node.entries().unwrap_or_default().iter();
                entries.filter(|entry| branch["properties"].get(&entry.key).is_some()).count()
            };
            let most = branches.iter().enumerate().max_by_key(|(_, branch)| known(branch)).unwrap();
            return self.visit((format!("{path}/{}", most.0), most.1), node, pointer, uses, maps);
        }
        for (n, item) in node.items().unwrap_or_default().iter().enumerate() {
            if schema["items"].is_object() {
                self.visit((format!("{path}[]"), &schema["items"]), item, &format!("{pointer}/{n}"), uses, maps);
            }
        }
        let (Some(entries), Some(properties)) = (node.entries(), schema["properties"].as_object()) else { return };
        maps.push(Map { at: path.clone(), pointer: pointer.to_owned(), place: node.place });
        for entry in entries {
            let Some(value) = properties.get(&entry.key) else { continue };
            let scalars: Vec<&Node> = match entry.value.items() {
                Some(items) => items.iter().filter(|item| item.scalar().is_some()).collect(),
                None => Some(&entry.value).filter(|value| value.scalar().is_some()).into_iter().collect(),
            };
            let texts = scalars.iter().map(|node| node.scalar().unwrap().text.clone());
            let inner = entry.value.entries().unwrap_or_default().iter();
            uses.push(Use {
                at: format!("{path}/{}", entry.key),
                key: entry.key.clone(),
                values: texts.collect(),
                of_values: scalars.iter().map(|node| node.place).collect(),
                around: [entry.place, entry.value.place, node.place]
                    .into_iter()
                    .chain(inner.flat_map(|inner| [inner.place, inner.value.place]))
                    .collect(),
            });
            let child = (format!("{path}/{}", entry.key), value);
            self.visit(child, &entry.value, &format!("{pointer}/{}", entry.key), uses, maps);
        }
    }
}
