-- A comparison that lasts longer than the time between two is still one: who scans holds the collection, and says so while it scans.
alter table collection_state add column scan_owner text not null default '';
alter table collection_state add column scan_lease_until_ms bigint not null default 0;
