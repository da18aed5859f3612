-- Claim deliveries that are due: workspaces in turn, and the endpoints of each in turn.
-- A delivery line is "state|attempts|token of the open claim|log"; a claim counts the attempt before it is made.
-- ARGV     token, most claims, most attempts under way per endpoint, and 1 for the events' documents
-- returns  ms until something is due (-1: nothing waits), revision of the endpoints per workspace met,
--          then workspace, endpoint, event, attempt per claim;
--          if asked for, a fifth word: the event's document, at the first claim of it, else ''
local token, limit, share, documents = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local now = clock()
local claims, revisions, told, writes = {-1, ''}, {}, {}, {}
-- An ordered endpoint looks again after so many ms whether what happened before its next is fanned out: soon at
-- first, then in as long as that has taken so far, up to a second.
local SOONEST_LOOK, LATEST_LOOK = 20, 1000
-- Endpoints of which nothing could be taken that one claim looks at, so that it holds the store shortly.
local idle_looks = 256
local fronts = {}

-- The number of the workspace's first event that is not fanned out (inf: there is none), and when to look again.
local function unfanned(ws)
  if not fronts[ws] then
    local first = redis.call('ZRANGE', K.unfanned(ws), 0, 0, 'WITHSCORES')
    local since = first[1] and redis.call('ZSCORE', K.OPEN_EVENTS, first[1]) or now
    local again = math.max(SOONEST_LOOK, math.min(LATEST_LOOK, now - tonumber(since)))
    fronts[ws] = {number = tonumber(first[2] or 'inf'), again = now + again}
  end
  return fronts[ws]
end

-- The next of an ordered endpoint, once nothing that happened before it can still join the line.
local function first_in_line(ws, ep, s)
  local head = redis.call('ZRANGE', K.line(ep), 0, 0, 'WITHSCORES')
  if not head[1] or now < s.next then return {} end
  local front = unfanned(ws)
  if front.number < tonumber(head[2]) then
    s.next = front.again
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
    local attempts, holder, log = string.match(redis.call('HGET', key, ep) or '', '^[pr]|(%d+)|([^|]*)|(.*)$')
    if holder == '' then
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
      if holder then
        -- It is under way, and not counted: nothing goes before that is mended.
        s.next = now + LATEST_LOOK
      else
        redis.call('ZREM', K.line(ep), event)
      end
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
  place(ws, ep, now, s, share, true)
  return taken
end

-- Up to ``quota`` of a workspace, its endpoints in turn; how many.
local function visit(ws, quota, idle)
  local took, before = 0, 0
  repeat
    before = took
    local eps = redis.call('ZRANGE', K.due(ws), '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)
    for j, ep in ipairs(eps) do
      if took >= quota or idle <= 0 then break end
      local taken = serve(ws, ep, math.ceil((quota - took) / (#eps - j + 1)))
      took = took + taken
      if taken == 0 then
        idle, idle_looks = idle - 1, idle_looks - 1
      end
    end
  until took >= quota or idle <= 0 or (took == before and #eps < 100)
  return took
end

local served = redis.call('ZRANGE', K.TURNS, '-inf', now, 'BYSCORE', 'LIMIT', 0, 64)
for i, ws in ipairs(served) do
  if limit <= 0 or idle_looks <= 0 then break end
  local left = #served - i + 1
  local took = visit(ws, math.ceil(limit / left), math.ceil(idle_looks / left))
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
