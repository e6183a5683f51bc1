//! CEL's view of a JSON document: nothing is copied until it is looked at, and every look is counted.

use std::{cell::Cell, collections::HashMap, sync::OnceLock, time::Instant};

use cel::{
    ExecutionError,
    common::{
        traits::{Container, Indexer, Iterable, Iterator as Items, Sizer},
        types::{
            CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, LIST_TYPE, MAP_TYPE,
            Type,
        },
        value::{Builtin, BuiltinRef, CowVal, Val},
    },
};
use contracts::limits::CEL_STEPS;
use regorus::Value;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
    static OVER: Cell<Option<Over>> = const { Cell::new(None) };
}

/// What a run went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Steps,
    Time,
}

/// Starts counting for a run on this thread.
pub(super) fn begin(deadline: Instant) {
    STEPS.set(0);
    DEADLINE.set(Some(deadline));
    OVER.set(None);
}

/// Ends the run: what it went over, if anything.
pub(super) fn end() -> Option<Over> {
    DEADLINE.set(None);
    OVER.take()
}

/// Counts. Whoever gets `false` shows nothing more; whatever comes out of such a run is thrown away.
fn spend(steps: usize) -> bool {
    let before = STEPS.get();
    let after = before.saturating_add(u64::try_from(steps).unwrap_or(u64::MAX));
    STEPS.set(after);
    if after > CEL_STEPS {
        OVER.set(Some(Over::Steps));
    } else if before >> 10 != after >> 10 && DEADLINE.get().is_some_and(|deadline| Instant::now() >= deadline) {
        OVER.set(Some(Over::Time));
    }
    OVER.get().is_none()
}

/// A list or map of a document.
#[derive(Debug)]
pub(super) struct Json<'d> {
    value: &'d Value,
    list: OnceLock<CelList<'d>>,
    map: OnceLock<CelMap<'d>>,
    keys: OnceLock<Vec<CelString<'d>>>,
}

/// The value as CEL has it. Whole numbers are `int` where they fit, so that `n + 1` works.
pub(super) fn view<'d>(value: &'d Value) -> Box<dyn Val + 'd> {
    match value {
        Value::Null | Value::Undefined => Box::new(CelNull),
        Value::Bool(flag) => Box::new(CelBool::from(*flag)),
        Value::String(text) => {
            // A text costs by its length: what is done with it does, too.
            if spend(text.len() / 64) { Box::new(CelString::from(text.as_ref())) } else { Box::new(CelNull) }
        }
        Value::Number(number) => {
            if let Some(whole) = number.as_i64().filter(|_| number.is_integer()) {
                Box::new(CelInt::from(whole))
            } else if let Some(whole) = number.as_u64().filter(|_| number.is_integer()) {
                Box::new(CelUInt::from(whole))
            } else {
                Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN)))
            }
        }
        Value::Array(_) | Value::Set(_) | Value::Object(_) => Box::new(Json::new(value)),
    }
}

impl<'d> Json<'d> {
    const fn new(value: &'d Value) -> Self {
        Self { value, list: OnceLock::new(), map: OnceLock::new(), keys: OnceLock::new() }
    }

    fn is_map(&self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Set(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        }
    }

    /// The elements as CEL values.
    fn list(&self) -> &CelList<'d> {
        self.list.get_or_init(|| {
            if !spend(self.len()) {
                return CelList::default();
            }
            match self.value {
                Value::Array(items) => items.iter().map(view).collect::<Vec<_>>().into(),
                Value::Set(items) => items.iter_sorted().map(view).collect::<Vec<_>>().into(),
                _ => CelList::default(),
            }
        })
    }

    fn fields(&self) -> impl Iterator<Item = (&'d str, &'d Value)> {
        let fields = match self.value {
            Value::Object(fields) => Some(fields),
            _ => None,
        };
        fields.into_iter().flat_map(|fields| fields.iter_sorted()).filter_map(|(key, value)| match key {
            Value::String(key) => Some((key.as_ref(), value)),
            _ => None,
        })
    }

    /// The fields as a CEL map; only for comparing with one.
    fn map(&self) -> &CelMap<'d> {
        self.map.get_or_init(|| {
            if !spend(self.len()) {
                return CelMap::default();
            }
            let entries: HashMap<_, _> =
                self.fields().map(|(key, value)| (CelMapKey::String(CelString::from(key)), view(value))).collect();
            entries.into()
        })
    }

    /// The keys, in order.
    fn keys(&self) -> &[CelString<'d>] {
        self.keys.get_or_init(|| {
            if spend(self.len()) { self.fields().map(|(key, _)| CelString::from(key)).collect() } else { Vec::new() }
        })
    }

    fn field(&self, key: &dyn Val) -> Option<&'d Value> {
        let key = key.downcast_ref::<CelString<'_>>()?;
        match self.value {
            Value::Object(fields) => fields.get(&Value::from(key.inner())),
            _ => None,
        }
    }
}

impl<'d> Val for Json<'d> {
    fn get_type(&self) -> &Type {
        if self.is_map() { &MAP_TYPE } else { &LIST_TYPE }
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    // The engine takes what says to be built in apart by these two.
    fn into_indexer<'v>(self: Box<Self>) -> Option<Box<dyn Indexer + 'v>>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn into_builtin<'v>(self: Box<Self>) -> Option<Builtin<'v>>
    where
        Self: 'v,
    {
        if self.is_map() {
            self.map();
            self.map.into_inner().map(Builtin::Map)
        } else {
            self.list();
            self.list.into_inner().map(Builtin::List)
        }
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        if self.is_map() { Some(self) } else { Some(self.list()) }
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        if self.is_map() { self.map().equals(other) } else { self.list().equals(other) }
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(Self::new(self.value))
    }

    // What lets a literal on the left be compared with a document on the right.
    fn as_builtin<'b, 'v>(&'b self) -> BuiltinRef<'b, 'v>
    where
        Self: 'v,
    {
        if self.is_map() { BuiltinRef::Map(self.map()) } else { BuiltinRef::List(self.list()) }
    }
}

impl Indexer for Json<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        if !spend(1) {
            return Err(ExecutionError::InternalError("over budget".to_owned()));
        }
        if self.is_map() {
            return match self.field(index) {
                Some(value) => Ok(CowVal::Owned(view(value))),
                // Keys of another type than text are an error in the map that CEL has.
                None => match index.downcast_ref::<CelString<'_>>() {
                    Some(key) => Err(ExecutionError::no_such_key(key.inner())),
                    None => Err(ExecutionError::UnexpectedType {
                        got: index.get_type().name().to_owned(),
                        want: "string".to_owned(),
                    }),
                },
            };
        }
        let position = index.downcast_ref::<CelInt>().and_then(|index| usize::try_from(*index.inner()).ok());
        match (position, self.value) {
            (Some(position), Value::Array(items)) => match items.get(position) {
                Some(value) => Ok(CowVal::Owned(view(value))),
                None => Err(ExecutionError::no_such_key("index out of bounds")),
            },
            _ => match self.list().as_indexer() {
                Some(list) => list.get(index),
                None => Err(ExecutionError::no_such_key("index")),
            },
        }
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Container for Json<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        if self.is_map() {
            return Ok(self.field(value).is_some());
        }
        match self.list().as_container() {
            Some(list) => list.contains(value),
            None => Ok(false),
        }
    }
}

impl Sizer for Json<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.len()).unwrap_or(i64::MAX))
    }
}

impl Iterable for Json<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn Items<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Keys(self.keys().iter()))
    }
}

struct Keys<'b, 'd>(std::slice::Iter<'b, CelString<'d>>);

impl<'b, 'd: 'v, 'v> Items<'b, 'v> for Keys<'b, 'd> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|key| key as &'b (dyn Val + 'v))
    }
}
