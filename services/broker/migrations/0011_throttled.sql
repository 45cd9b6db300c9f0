-- The change for which a subscription is quiet: who claimed that and did not live to see it taken leaves it to the next, who may send it all the same.
alter table mim.subscriptions add column quiet_for bigint;
