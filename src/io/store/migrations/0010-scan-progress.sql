-- How far the running comparison of a collection has come; what is left of one that ended early is where the next one goes on.
alter table collection_state add column progress json;
