-- Calls to agents: replicas that only a process in their region can reach. A row lives while somebody waits for its answer.
create table agent_calls (
  id bigint generated always as identity primary key,
  collection text not null,
  replica text not null,
  method text not null,
  purpose text not null,
  args jsonb not null,
  state text not null default 'waiting' check (state in ('waiting', 'taken', 'done', 'failed')),
  agent text,
  -- The times of two parties are compared here: both are this server's clock.
  lease_until timestamptz,
  wanted_until timestamptz not null,
  parts int not null default 0,
  parts_read int not null default 0,
  failure jsonb
);
create index agent_calls_waiting on agent_calls (collection, replica, id) where state = 'waiting';

create table agent_parts (
  call_id bigint not null references agent_calls on delete cascade,
  seq int not null,
  body jsonb not null,
  primary key (call_id, seq)
);

-- Who serves a replica, when it was last heard of, and the checksum of all rows that it sent last.
create table agents (
  collection text not null,
  replica text not null,
  agent text not null,
  version text not null,
  seen_at timestamptz not null,
  checksum jsonb,
  checksum_at timestamptz,
  primary key (collection, replica)
);
