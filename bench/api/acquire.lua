-- For wrk: one of many prepared requests each time, so that no group is asked twice in a row.
-- wrk ... -s acquire.lua URL -- rest|connect GROUPS
local requests, at, count = {}, 0, 1

function init(args)
  local kind = args[1] or 'rest'
  count = tonumber(args[2] or '1000')
  for group = 0, count - 1 do
    local name = 'g' .. group
    if kind == 'connect' then
      local headers = { ['Content-Type'] = 'application/json' }
      requests[group] = wrk.format('POST', '/sluice.v1.AdmissionService/Acquire', headers, '{"group":"' .. name .. '","ttl":"1s"}')
    elseif kind == 'json' then
      local headers = { ['Content-Type'] = 'application/json' }
      requests[group] = wrk.format('POST', '/v1/groups/' .. name .. '/acquire', headers, '{"ttl":"1s"}')
    elseif kind == 'gubernator' then
      local headers = { ['Content-Type'] = 'application/json' }
      local body = '{"requests":[{"name":"free","unique_key":"' .. name .. '","hits":"1","limit":"1000000000","duration":"1000","algorithm":"LEAKY_BUCKET"}]}'
      requests[group] = wrk.format('POST', '/v1/GetRateLimits', headers, body)
    else
      requests[group] = wrk.format('POST', '/v1/groups/' .. name .. '/acquire?ttl=1s', {}, nil)
    end
  end
end

function request()
  at = (at + 1) % count
  return requests[at]
end
