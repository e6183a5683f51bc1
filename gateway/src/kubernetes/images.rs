//! Where images stand in an object.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::review::{Kind, Operation, Review};

/// Images that one review may ask about.
const IMAGES: usize = 128;
/// Parts of objects that say nothing of what runs. `status` keeps what the object says, whatever it is sent.
const HARMLESS_PARTS: [&str; 8] = ["status", "scale", "binding", "eviction", "finalize", "log", "token", "approval"];

/// Where pod templates stand in kinds that the configuration adds: group and kind to JSON pointers.
pub type Templates = BTreeMap<(String, String), Vec<String>>;

/// An image as an object names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it stands: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What it is for, in words: `container web`.
    pub what: String,
    /// The list it is in.
    list: &'static str,
    /// The name that it has there.
    name: String,
    /// As it is written there.
    pub written: String,
}

/// What a review asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing that could be started by it.
    Nothing,
    /// Images.
    Images {
        /// Those that the object did not name before.
        new: Vec<Image>,
        /// Those that it named already, when it is changed: a pod at the same place of the same list, by the name of the
        /// container or volume, as another place starts anew; another kind anywhere, as its pods are judged when they are
        /// made. What is stored is not undone by refusing other changes of it.
        kept: Vec<Image>,
    },
}

/// Why it is not known which images an object names: it is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unjudged {
    /// A kind of which it is not known.
    #[error(
        "sluice does not know where images stand in a {kind}: take it out of the webhook's rules, or name its pod template under `[kubernetes.templates]`"
    )]
    Kind {
        /// Which.
        kind: String,
    },
    /// The object is another one than the review says, or there is none.
    #[error("the review is about a {kind}, and its object is not one")]
    Object {
        /// What it says.
        kind: String,
    },
    /// Something is not of the shape that objects of its kind have.
    #[error("`{pointer}` is not what it is in a {kind}")]
    Shape {
        /// Where.
        pointer: String,
        /// The kind.
        kind: String,
    },
    /// More images than are judged.
    #[error("the object names more than {IMAGES} images")]
    TooMany,
}

/// How the images of a kind are found.
enum Shape {
    /// A pod's spec, at a pointer. `true`: a pod itself, which must name every image.
    Spec(String, bool),
    /// The list of ephemeral containers, alone (Kubernetes before 1.22).
    Ephemeral,
}

impl Review {
    /// The images that the object names.
    ///
    /// # Errors
    /// When that is not known.
    pub fn images(&self, templates: &Templates) -> Result<Seen, Unjudged> {
        if matches!(self.operation, Operation::Delete | Operation::Connect)
            || HARMLESS_PARTS.contains(&self.sub_resource.as_str())
        {
            return Ok(Seen::Nothing);
        }
        let shapes = shapes(&self.kind, templates)?;
        let object = self.object.as_ref().ok_or_else(|| self.no_object())?;
        let all = self.read(object, &shapes)?;
        let distinct: BTreeSet<&str> = all.iter().map(|image| image.written.as_str()).collect();
        if distinct.len() > IMAGES {
            return Err(Unjudged::TooMany);
        }
        let before = match (&self.old, self.operation) {
            // What cannot be read of the old object was not there.
            (Some(old), Operation::Update) => self.read(old, &shapes).unwrap_or_default(),
            _ => Vec::new(),
        };
        let (kept, new) = if self.kind.runs() { by_place(all, &before) } else { anywhere(all, &before) };
        Ok(Seen::Images { new, kept })
    }

    fn read(&self, object: &Map<String, Value>, shapes: &[Shape]) -> Result<Vec<Image>, Unjudged> {
        let says = |key: &str, expected: &str| object.get(key).and_then(Value::as_str) == Some(expected);
        if !says("kind", &self.kind.kind) || !says("apiVersion", &self.kind.api_version()) {
            return Err(self.no_object());
        }
        let mut reading = Reading { kind: &self.kind, object, images: Vec::new(), whole: false };
        for shape in shapes {
            match shape {
                Shape::Spec(pointer, pod) => {
                    reading.whole = *pod;
                    reading.spec(pointer)?;
                }
                Shape::Ephemeral => {
                    reading.whole = true;
                    reading.containers("", "ephemeralContainers", "ephemeral container")?;
                }
            }
        }
        Ok(reading.images)
    }

    fn no_object(&self) -> Unjudged {
        Unjudged::Object { kind: self.kind.to_string() }
    }
}

/// Those that stand where they stood, and the others.
fn by_place(all: Vec<Image>, before: &[Image]) -> (Vec<Image>, Vec<Image>) {
    let place = |image: &Image| (image.list, image.name.clone(), image.written.clone());
    let mut there: BTreeMap<(&str, String, String), usize> = BTreeMap::new();
    for image in before {
        let count = there.entry(place(image)).or_default();
        *count = count.saturating_add(1);
    }
    // One of before is one of now, whatever is named twice.
    all.into_iter().partition(|image| match there.get_mut(&place(image)) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    })
}

/// Those that were named somewhere, and the others.
fn anywhere(all: Vec<Image>, before: &[Image]) -> (Vec<Image>, Vec<Image>) {
    let before: BTreeSet<&str> = before.iter().map(|image| image.written.as_str()).collect();
    all.into_iter().partition(|image| before.contains(image.written.as_str()))
}

fn shapes(kind: &Kind, templates: &Templates) -> Result<Vec<Shape>, Unjudged> {
    let spec = |pointer: &str| Ok(vec![Shape::Spec(pointer.to_owned(), false)]);
    match (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str()) {
        ("", "v1", "Pod") => Ok(vec![Shape::Spec("/spec".to_owned(), true)]),
        ("", "v1", "EphemeralContainers") => Ok(vec![Shape::Ephemeral]),
        ("", "v1", "PodTemplate") => spec("/template/spec"),
        ("", "v1", "ReplicationController") => spec("/spec/template/spec"),
        ("apps", "v1" | "v1beta1" | "v1beta2", "Deployment" | "StatefulSet" | "ReplicaSet" | "DaemonSet")
        | ("extensions", "v1beta1", "Deployment" | "ReplicaSet" | "DaemonSet")
        | ("batch", "v1", "Job") => spec("/spec/template/spec"),
        ("batch", "v1" | "v1beta1", "CronJob") => spec("/spec/jobTemplate/spec/template/spec"),
        (group, _, name) => {
            let pointers = templates.get(&(group.to_owned(), name.to_owned()));
            let pointers = pointers.ok_or_else(|| Unjudged::Kind { kind: kind.to_string() })?;
            Ok(pointers.iter().map(|pointer| Shape::Spec(format!("{pointer}/spec"), false)).collect())
        }
    }
}

/// Items of a list, each with where it stands.
type Items<'r> = Vec<(String, &'r Map<String, Value>)>;

struct Reading<'r> {
    kind: &'r Kind,
    object: &'r Map<String, Value>,
    images: Vec<Image>,
    /// Whether every container must name an image: templates may leave it to whatever makes their pods.
    whole: bool,
}

impl<'r> Reading<'r> {
    fn spec(&mut self, pointer: &str) -> Result<(), Unjudged> {
        if !matches!(self.at(pointer), Some(Value::Object(_))) {
            return Err(self.wrong(pointer));
        }
        self.containers(pointer, "initContainers", "init container")?;
        self.containers(pointer, "containers", "container")?;
        self.containers(pointer, "ephemeralContainers", "ephemeral container")?;
        self.volumes(pointer)
    }

    fn containers(&mut self, pointer: &str, list: &'static str, what: &str) -> Result<(), Unjudged> {
        for (pointer, container) in self.items(&format!("{pointer}/{list}"))? {
            self.image(&pointer, container, "image", list, what)?;
        }
        Ok(())
    }

    /// Volumes that are images (`volumes[].image.reference`).
    fn volumes(&mut self, pointer: &str) -> Result<(), Unjudged> {
        for (pointer, volume) in self.items(&format!("{pointer}/volumes"))? {
            let name = volume.get("name").cloned();
            match volume.get("image") {
                None | Some(Value::Null) => {}
                Some(Value::Object(image)) => {
                    let mut named = image.clone();
                    named.extend(name.map(|name| ("name".to_owned(), name)));
                    self.image(&format!("{pointer}/image"), &named, "reference", "volumes", "volume")?;
                }
                Some(_) => return Err(self.wrong(&format!("{pointer}/image"))),
            }
        }
        Ok(())
    }

    fn image(
        &mut self,
        pointer: &str,
        of: &Map<String, Value>,
        key: &str,
        list: &'static str,
        what: &str,
    ) -> Result<(), Unjudged> {
        let pointer = format!("{pointer}/{key}");
        let written = match of.get(key) {
            None | Some(Value::Null) => "",
            Some(Value::String(text)) => text,
            Some(_) => return Err(self.wrong(&pointer)),
        };
        if written.is_empty() {
            return if self.whole { Err(self.wrong(&pointer)) } else { Ok(()) };
        }
        let name = of.get("name").and_then(Value::as_str).unwrap_or_default();
        let shown: String = name.chars().take(63).collect();
        let (what, name, written) = (format!("{what} {shown}"), name.to_owned(), written.to_owned());
        self.images.push(Image { pointer, what, list, name, written });
        Ok(())
    }

    fn items(&self, pointer: &str) -> Result<Items<'r>, Unjudged> {
        let items = match self.at(pointer) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.wrong(pointer)),
        };
        let item = |(number, item): (usize, &'r Value)| {
            let pointer = format!("{pointer}/{number}");
            match item {
                Value::Object(item) => Ok((pointer, item)),
                _ => Err(self.wrong(&pointer)),
            }
        };
        items.iter().enumerate().map(item).collect()
    }

    /// As `Value::pointer`, of an object.
    fn at(&self, pointer: &str) -> Option<&'r Value> {
        let mut parts = pointer.strip_prefix('/')?.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
        let mut at = self.object.get(&parts.next()?)?;
        for part in parts {
            at = match at {
                Value::Object(map) => map.get(&part)?,
                Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(at)
    }

    fn wrong(&self, pointer: &str) -> Unjudged {
        Unjudged::Shape { pointer: pointer.to_owned(), kind: self.kind.to_string() }
    }
}
