//! The native NGSI-LD context broker.
