//! The functions of `decide` are pure, and a search asks the same few thousand questions millions of
//! times, in a debug build. Each thread keeps the answers.

/// `remembered!(key, Key => Value, || computed)`.
macro_rules! remembered {
    ($key:expr, $from:ty => $to:ty, $compute:expr) => {{
        thread_local! {
            static ANSWERS: std::cell::RefCell<std::collections::HashMap<$from, $to>> =
                std::cell::RefCell::default();
        }
        let key: $from = $key;
        let known = ANSWERS.with_borrow(|answers| answers.get(&key).copied());
        known.unwrap_or_else(|| {
            let value: $to = $compute();
            ANSWERS.with_borrow_mut(|answers| answers.insert(key, value));
            value
        })
    }};
}

pub(crate) use remembered;
