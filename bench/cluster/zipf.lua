-- For wrk: groups drawn by Zipf's law, each thread at an address of its own.
-- env PORTS=1,2,3 wrk -t3 ... -s zipf.lua URL -- sluice|ratelimit EXPONENT NAME COUNT FIRST...
-- Groups are NAME0 to NAME(COUNT-1); where numbers follow, those only.
local ports, threads = {}, 0
for port in (os.getenv('PORTS') or ''):gmatch('%d+') do ports[#ports + 1] = port end

function setup(thread)
  threads = threads + 1
  thread:set('seed', threads)
  if #ports > 0 then thread.addr = wrk.lookup('127.0.0.1', ports[(threads - 1) % #ports + 1])[1] end
end

local DRAWS = 16384
local requests, at = {}, 0

local function requestOf(kind, name)
  if kind == 'ratelimit' then
    local body = '{"domain":"bench","descriptors":[{"entries":[{"key":"group","value":"' .. name .. '"}]}]}'
    return wrk.format('POST', '/json', { ['Content-Type'] = 'application/json' }, body)
  end
  return wrk.format('POST', '/v1/groups/' .. name .. '/acquire?ttl=' .. (kind == 'held' and '1m' or '1s'), {}, nil)
end

function init(args)
  local kind, exponent, name, count = args[1], tonumber(args[2]), args[3], tonumber(args[4])
  local prepared, sums, sum = {}, {}, 0
  for rank = 1, count do
    local number = args[4 + rank] or (#args == 4 and rank - 1) or nil
    if number == nil then break end
    sum = sum + 1 / rank ^ exponent
    prepared[rank], sums[rank] = requestOf(kind, name .. number), sum
  end
  math.randomseed(20260101 + seed)
  for draw = 1, DRAWS do
    local wanted, rank = math.random() * sum, 1
    while sums[rank] < wanted and rank < #sums do rank = rank + 1 end
    requests[draw] = prepared[rank]
  end
end

function request()
  at = at % DRAWS + 1
  return requests[at]
end
