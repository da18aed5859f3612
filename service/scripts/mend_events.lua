-- Put back whatever open events need to go on, where an index has lost it; and correct what they owe.
-- ARGV     cursor of the open events, how many, an event of many deliveries to look at instead or '', cursor
--          of its fields, then the service's delays before each attempt in ms
-- returns  next cursor (of the event's fields, where one is named), number put back,
--          then events that wait for their fan-out and are in no stream, and after a '' those of many deliveries
local cursor, count, large, within = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local MANY = 500
local now = clock()
local put, lost, larges, seen, groups, paces = 0, {}, {}, {}, {}, {}

-- When a delivery whose place was lost is due: as the service's own schedule has it, and never later than that.
local function due(attempts, log)
  local read, rows = pcall(cjson.decode, '[' .. log .. ']')
  local last, delay = read and rows[1] and tonumber(rows[#rows][1]), tonumber(ARGV[5 + attempts] or '0')
  if not last then return now end
  return math.max(now, math.min(last, now) + delay)
end

-- A deleted one that was ordered is not known as such.
local function waits(ep, event)
  return redis.call('ZSCORE', K.wait(ep), event) or redis.call('ZSCORE', K.late(ep), event)
    or not paces[ep].known and redis.call('ZSCORE', K.line(ep), event)
end

local function tend(ws, event, seq, ep, line)
  local state, attempts, holder, log = string.match(line, '^([prh])|(%d+)|([^|]*)|(.*)$')
  if not state then return false end
  if state == 'h' then
    -- Held as it once was, in no queue; now it waits, and an endpoint that is off gets nothing.
    redis.call('HSET', K.event(event), ep, 'r|' .. attempts .. '||' .. log)
  end
  paces[ep] = paces[ep] or pace(ep)
  if paces[ep].ordered then
    put = put + redis.call('ZADD', K.line(ep), 'NX', seq, event)
  end
  if holder ~= '' then
    put = put + redis.call('ZADD', K.FLIGHT, 'NX', now, event .. ' ' .. ep)
  elseif not (paces[ep].ordered or waits(ep, event)) then
    put = put + redis.call('ZADD', state == 'p' and K.wait(ep) or K.late(ep), due(tonumber(attempts), log), event)
  end
  seen[ws] = seen[ws] or {}
  seen[ws][ep] = true
  return true
end

-- What the group was given and holds no more was given to a consumer that somebody deleted.
local function stands(ws, entry)
  local stream = K.stream(ws)
  if #redis.call('XRANGE', stream, entry, entry) == 0 then return false end
  if not groups[ws] then
    groups[ws] = {0, 0}
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      for i = 1, #group, 2 do
        if group[i] == 'name' and group[i + 1] ~= K.GROUP then break end
        if group[i] == 'last-delivered-id' then groups[ws] = {string.match(group[i + 1], '^(%d+)-(%d+)$')} end
      end
    end
  end
  local ms, number = string.match(entry, '^(%d+)-(%d+)$')
  local last = {tonumber(groups[ws][1]), tonumber(groups[ws][2])}
  if tonumber(ms) > last[1] or (tonumber(ms) == last[1] and tonumber(number) > last[2]) then return true end
  return #redis.call('XPENDING', stream, K.GROUP, entry, entry, 1) > 0
end

local function mend(event)
  local key = K.event(event)
  if redis.call('HLEN', key) > MANY then
    larges[#larges + 1] = event
    return
  end
  local words = redis.call('HGETALL', key)
  local ws, entry, open, seq, deliveries = nil, nil, nil, nil, {}
  for i = 1, #words, 2 do
    local name = words[i]
    if string.sub(name, 1, 3) == 'ep_' then
      deliveries[#deliveries + 1] = i
    elseif name == 'ws' then
      ws = words[i + 1]
    elseif name == 'entry' then
      entry = words[i + 1]
    elseif name == 'open' then
      open = tonumber(words[i + 1])
    elseif name == 'seq' then
      seq = words[i + 1]
    end
  end
  if not ws then
    redis.call('ZREM', K.OPEN_EVENTS, event)
    return
  end
  local owed = entry and 1 or 0
  for _, i in ipairs(deliveries) do
    if tend(ws, event, seq, words[i], words[i + 1]) then owed = owed + 1 end
  end
  if open ~= owed then redis.call('HSET', key, 'open', owed) end
  if owed == 0 then redis.call('ZREM', K.OPEN_EVENTS, event) end
  if entry then
    put = put + redis.call('ZADD', K.unfanned(ws), 'NX', seq, event)
    if not stands(ws, entry) then lost[#lost + 1] = event end
  end
end

local next
if large ~= '' then
  local ws, seq = unpack(redis.call('HMGET', K.event(large), 'ws', 'seq'))
  local found = redis.call('HSCAN', K.event(large), within, 'COUNT', count)
  next = found[1]
  for i = 1, ws and #found[2] or 0, 2 do
    if string.sub(found[2][i], 1, 3) == 'ep_' then tend(ws, large, seq, found[2][i], found[2][i + 1]) end
  end
  local entry = next == '0' and redis.call('HGET', K.event(large), 'entry')
  if entry then
    put = put + redis.call('ZADD', K.unfanned(ws), 'NX', seq, large)
    if not stands(ws, entry) then lost[1] = large end
  end
else
  local found = redis.call('ZSCAN', K.OPEN_EVENTS, cursor, 'COUNT', count)
  next = found[1]
  for i = 1, #found[2], 2 do mend(found[2][i]) end
end

-- Whether nothing would try it when it can be tried: it has no turn, waits for an outcome with nothing under way, or
-- for a time that is past its own by more than an ordered endpoint ever waits before it looks again.
local function is_astray(ep, at, wanted)
  if not wanted then return not paces[ep].known and not redis.call('ZSCORE', K.LEAVING, ep) end
  if not at then return true end
  return wanted ~= '+inf' and tonumber(at) > math.max(wanted, now) + 2000
end

for ws, eps in pairs(seen) do
  for ep in pairs(eps) do
    local wanted = next_try(ep, paces[ep], flying(ws, ep), now, SHARE)
    if is_astray(ep, redis.call('ZSCORE', K.due(ws), ep), wanted) then
      place(ws, ep, now, paces[ep])
      put = put + 1
    end
  end
  local first = redis.call('ZRANGE', K.due(ws), 0, 0, 'WITHSCORES')[2]
  if first and first ~= 'inf' then
    put = put + redis.call('ZADD', K.TURNS, 'LT', 'CH', math.max(now, tonumber(first)), ws)
  end
end

local answer = {next, put, unpack(lost)}
answer[#answer + 1] = ''
for _, event in ipairs(larges) do answer[#answer + 1] = event end
return answer
