-- For wrk: asks a group that is full, now or not at all.
function init(args)
  wrk.method = 'POST'
  wrk.path = '/v1/groups/full/acquire?ttl=0s'
end
