-- What was learned of the fleet from traces: outboxes, replicas, lags, sagas. Rewritten as it changes; read at a start.
create table learned_structure (
  kind text not null,
  name text not null,
  body json not null,
  first_seen_ms bigint not null,
  updated_at_ms bigint not null,
  primary key (kind, name)
);
