//! rscaler.
