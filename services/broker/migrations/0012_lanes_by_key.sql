-- What waits is few rows among many that are gone: both are to be found by their keys, also by plans that were made while a table was small.
alter function mim.take_lane(bigint, smallint, uuid, integer, integer, bigint) set enable_seqscan = off;
alter function mim.go_on_with_lane(bigint, smallint, uuid, integer, integer, bigint, bigint[], bigint, bigint, timestamptz, timestamptz, timestamptz) set enable_seqscan = off;
