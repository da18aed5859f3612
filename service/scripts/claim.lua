-- Claim deliveries that are due: workspaces in turn, endpoints by how long they have been due.
-- A delivery line is "state|attempts|token of the open claim|log"; a claim counts the attempt before it is made.
-- ARGV     token, most claims, most attempts under way per endpoint, and 1 for the events' documents
-- returns  ms until something is due (-1: nothing waits), revision of the endpoints per workspace met,
--          then workspace, endpoint, event, attempt per claim;
--          if asked for, a fifth word: the event's document, at the first claim of it, else ''
local token, limit, share, documents = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local now = clock()
local claims, revisions, told, writes = {-1, ''}, {}, {}, {}
-- An ordered endpoint looks again so many ms later whether the events before its next one are fanned out.
local LOOK_AGAIN = 20

-- The next of an ordered endpoint, once nothing that happened before it can still join the line.
local function first_in_line(ws, ep, s)
  local head = redis.call('ZRANGE', K.line(ep), 0, 0, 'WITHSCORES')
  if not head[1] or now < s.next then return {} end
  local unfanned = redis.call('ZRANGE', K.unfanned(ws), 0, 0, 'WITHSCORES')[2]
  if unfanned and tonumber(unfanned) < tonumber(head[2]) then
    s.next = now + LOOK_AGAIN
    return {}
  end
  return {head[1]}
end

-- Up to n that are due; first attempts get at least half of it, whatever else is late.
local function waiting(ep, n)
  local late = redis.call('ZRANGE', K.late(ep), '-inf', now, 'BYSCORE', 'LIMIT', 0, n)
  local fresh = redis.call('ZRANGE', K.wait(ep), '-inf', now, 'BYSCORE', 'LIMIT', 0, n)
  -- The odd one goes to either, by the clock.
  local kept = math.min(#late, math.max(n - #fresh, math.floor((n + now % 2) / 2)))
  local due = {}
  for i = 1, kept do due[i] = late[i] end
  if kept > 0 then redis.call('ZREM', K.late(ep), unpack(due)) end
  local first = math.min(#fresh, n - kept)
  for i = 1, first do due[kept + i] = fresh[i] end
  if first > 0 then redis.call('ZREM', K.wait(ep), unpack(due, kept + 1)) end
  return due
end

local function take(ws, ep, due, s)
  local flown = {}
  for _, event in ipairs(due) do
    local key = K.event(event)
    local attempts, log = string.match(redis.call('HGET', key, ep) or '', '^[pr]|(%d+)|[^|]*|(.*)$')
    if attempts then
      attempts = attempts + 1
      local words = writes[key] or {}
      writes[key] = words
      words[#words + 1] = ep
      words[#words + 1] = 'r|' .. attempts .. '|' .. token .. '|' .. log
      local n = #claims
      claims[n + 1], claims[n + 2], claims[n + 3], claims[n + 4] = ws, ep, event, attempts
      if documents then
        claims[n + 5] = told[event] and '' or redis.call('HGET', key, 'doc') or ''
        told[event] = true
      end
      n = #flown
      flown[n + 1], flown[n + 2] = now, event .. ' ' .. ep
    elseif s.ordered then
      redis.call('ZREM', K.line(ep), event)
    end
  end
  local taken = #flown / 2
  if taken > 0 then
    redis.call('ZADD', K.FLIGHT, unpack(flown))
    redis.call('HINCRBY', K.running(ws), ep, taken)
    if s.rate > 0 then
      s.tat = s.tat + taken * 1000 / s.rate
      redis.call('HSET', K.endpoint(ep), 'tat', string.format('%.3f', s.tat))
    end
  end
  return taken
end

local function serve(ws, ep, most)
  local s = pace(ep)
  local free = math.min(most, room(s, flying(ws, ep), now, share))
  local taken = 0
  if free > 0 then taken = take(ws, ep, s.ordered and first_in_line(ws, ep, s) or waiting(ep, free), s) end
  place(ws, ep, now, s, share)
  return taken
end

local served = redis.call('ZRANGE', K.TURNS, '-inf', now, 'BYSCORE', 'LIMIT', 0, 64)
for i, ws in ipairs(served) do
  if limit <= 0 then break end
  local quota, took = math.ceil(limit / (#served - i + 1)), 0
  while took < quota do
    local eps = redis.call('ZRANGE', K.due(ws), '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)
    if #eps == 0 then break end
    local before = took
    for j, ep in ipairs(eps) do
      if took >= quota then break end
      took = took + serve(ws, ep, math.ceil((quota - took) / (#eps - j + 1)))
    end
    if took == before and #eps < 100 then break end
  end
  limit = limit - took
  if took > 0 then
    revisions[#revisions + 1] = ws .. '=' .. (redis.call('HGET', K.workspace(ws), 'endpoints') or '0')
  end
  local first = redis.call('ZRANGE', K.due(ws), 0, 0, 'WITHSCORES')[2]
  if not first or first == 'inf' then
    redis.call('ZREM', K.TURNS, ws)
  else
    -- Whoever was just served stands behind everybody whose turn came before now.
    redis.call('ZADD', K.TURNS, math.max(now, tonumber(first)), ws)
  end
end
for key, words in pairs(writes) do redis.call('HSET', key, unpack(words)) end
claims[2] = table.concat(revisions, ' ')
local soonest = redis.call('ZRANGE', K.TURNS, 0, 0, 'WITHSCORES')[2]
if soonest then claims[1] = math.max(0, tonumber(soonest) - now) end
return claims
