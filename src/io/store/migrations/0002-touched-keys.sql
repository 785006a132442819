-- Keys that traces saw written are compared soon after, without a scan. Each collection remembers how far it has come in the evidence.
alter table write_evidence add column recorded_at_ms bigint not null default 0;
create index write_evidence_by_collection on write_evidence (collection, seq);
alter table collection_state add column evidence_seq bigint not null default 0;
alter table collection_state add column keys_checked bigint not null default 0;
