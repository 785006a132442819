-- What stores' own metrics said last, by what it is about; the series of what is forecast are in series_points.
create table measurements (
  kind text not null,
  system text not null,
  instance text not null,
  subject text not null,
  metric text not null,
  replica text not null,
  -- In the kind's unit; for counters what was gained between the last two points.
  value double precision not null,
  usual double precision not null,
  highest double precision not null,
  points bigint not null,
  at_ms bigint not null,
  primary key (kind, system, instance, subject, metric)
);
create index measurements_by_time on measurements (at_ms);
