//! Kubernetes operator for urban data platforms.
