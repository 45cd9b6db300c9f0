-- A tenant that is being dropped. Its row takes a name that no request can have, so that one of the old name may come again with a number of its own, and goes
-- when nothing of it is left. `was` is its name, for whoever is still told of its changes.
alter table mim.tenants add column dropped timestamptz, add column was text collate "C";
