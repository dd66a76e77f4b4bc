//! What `rscaler demo` is made of, beside the three real peers that it starts.
pub mod hosts;
