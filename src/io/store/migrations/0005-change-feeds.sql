-- What stores tell of their own writes: how far each feed was read, by which process, and what it does not tell.
-- The id names what this installation makes in the stores it watches; it is the same for all of its processes.
create table installation (id text not null);
create unique index installation_is_one on installation ((true));
insert into installation (id) values (substr(md5(gen_random_uuid()::text), 1, 8));

-- One store: an engine and a URL. `source` is a digest of both, so that no credentials are kept.
create table change_feeds (
  source text primary key,
  feed text not null,
  owner text not null default '',
  lease_until_ms bigint not null default 0,
  state text not null default 'starting',
  says text not null default '',
  -- Everything up to here was dealt with.
  position text,
  keys_told bigint not null default 0,
  gaps bigint not null default 0,
  last_gap text,
  last_gap_at_ms bigint,
  retained_bytes bigint not null default 0,
  updated_at_ms bigint not null default 0
);

-- One replica of one collection, watched through its store's feed or not.
create table replica_changes (
  collection text not null,
  replica text not null,
  source text not null,
  is_told boolean not null,
  says text not null,
  updated_at_ms bigint not null,
  primary key (collection, replica)
);
create index divergences_suspected on divergences (collection, seq) where status = 'suspected';
