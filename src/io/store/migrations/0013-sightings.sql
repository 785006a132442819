-- At which write, in which trace, a finding was seen. A finding has a fixed number of slots, so that one that is seen all the time takes no
-- more than another: a ring of the latest, and one slot for each of 65,536 classes of keys for the latest of each key.
create table sightings (
  fingerprint text not null,
  -- Below 0: the ring; from 0 on: the class of the key.
  slot integer not null,
  collection text not null,
  object_key text not null,
  version text not null,
  service text not null,
  trace_id text not null,
  span_id text not null,
  at_us bigint not null,
  primary key (fingerprint, slot)
);
create index sightings_by_object on sightings (collection, object_key) where object_key <> '';
create index sightings_by_trace on sightings (trace_id);
create index sightings_by_time on sightings (collection, at_us);
