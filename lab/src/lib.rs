//! A real single-node Kubernetes from package registries alone.
