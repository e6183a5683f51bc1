//! What a build claims that its materials say of themselves and where they are, replaced by what was found.

use std::collections::BTreeMap;

use contracts::{crafting, materials};
use regorus::Value;

use crate::evidence::{fields_of, text};

/// The annotations of each material with what was found of its bytes, by the name of the material.
pub(crate) type Read<'m> = BTreeMap<&'m str, &'m Value>;

/// The statement with, in the descriptors of materials and of subjects that are materials, those annotations that
/// readers write ([`materials::is_derived`]) as they were read, and those that say where its bytes are
/// ([`crafting::says_where`]) as they are; without them where nothing was read or is here.
pub(crate) fn replaced(statement: &Value, read: &Read<'_>) -> Value {
    let mut fields = fields_of(statement);
    replace_in(&mut fields, "subject", read);
    if let Some(predicate) = fields.get_mut(&Value::from("predicate")) {
        let mut inner = fields_of(predicate);
        if replace_in(&mut inner, "materials", read) {
            *predicate = Value::from(inner);
        }
    }
    Value::from(fields)
}

/// Whether there is such a list.
fn replace_in(fields: &mut BTreeMap<Value, Value>, key: &str, read: &Read<'_>) -> bool {
    let Some(list @ Value::Array(_)) = fields.get_mut(&Value::from(key)) else { return false };
    let Value::Array(descriptors) = &*list else { return false };
    let descriptors: Vec<Value> = descriptors.iter().map(|descriptor| descriptor_of(descriptor, read)).collect();
    *list = Value::from(descriptors);
    true
}

fn descriptor_of(descriptor: &Value, read: &Read<'_>) -> Value {
    let mut fields = fields_of(descriptor);
    let Some(claimed) = fields.get(&text("annotations")) else { return descriptor.clone() };
    let mut annotations = fields_of(claimed);
    let named = match annotations.get(&text("chainloop.material.name")) {
        Some(Value::String(name)) => read.get(&**name),
        _ => None,
    };
    let Some(Value::Object(told)) = named else { return descriptor.clone() };
    let derived =
        |key: &Value| matches!(key, Value::String(key) if materials::is_derived(key) || crafting::says_where(key));
    annotations.retain(|key, _| !derived(key));
    let told = told.iter().filter(|(key, _)| derived(key));
    annotations.extend(told.map(|(key, value)| (key.clone(), value.clone())));
    fields.insert(text("annotations"), Value::from(annotations));
    Value::from(fields)
}
