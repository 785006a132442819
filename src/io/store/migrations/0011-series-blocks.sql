-- Closed history of series, packed: a row holds 72 steps of one series in four bytes each, about a tenth of what a row a point takes.
create table series_names (
  id integer generated always as identity primary key,
  collection text not null,
  bucket integer not null,
  region text not null,
  metric text not null,
  unique (collection, bucket, region, metric)
);

create table series_blocks (
  step_ms bigint not null,
  -- The block covers [block * 72 * step_ms, (block + 1) * 72 * step_ms).
  block bigint not null,
  series integer not null references series_names (id) on delete cascade,
  -- Null where the step had no point.
  points real[] not null,
  primary key (step_ms, block, series)
);
