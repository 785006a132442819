-- A suggestion is approved by digest, like a repair, and carried out by a worker that claims it.
alter table suggestions
  add column digest text not null default '',
  add column fence bigint not null default 0,
  add column claimed_until_ms bigint not null default 0,
  add column retry_at_ms bigint not null default 0,
  add column attempts integer not null default 0,
  add column progress json,
  add column outcome text;

create index suggestions_in_work on suggestions (updated_at_ms) where state in ('applying', 'undoing');

create table suggestion_approvals (
  suggestion_id text not null references suggestions (id) on delete cascade,
  digest text not null,
  by_person text not null,
  comment text not null,
  at_ms bigint not null,
  primary key (suggestion_id, by_person)
);
