/// Pairs each of our variants with the replicated one, and makes both conversions of it.
macro_rules! same_variants {
    ($($type:ident { $($variant:ident),* })*) => {$(
        impl From<$type> for model::$type {
            fn from(value: $type) -> Self {
                match value { $($type::$variant => model::$type::$variant,)* }
            }
        }
        impl From<model::$type> for $type {
            fn from(value: model::$type) -> Self {
                match value { $(model::$type::$variant => $type::$variant,)* }
            }
        }
    )*};
}
pub(crate) use same_variants;
