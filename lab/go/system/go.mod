// Programs of the lab's own that run in pods. The standard library is all they need.
module mim.city/lab/system

go 1.26.0
