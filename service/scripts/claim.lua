-- Claim deliveries that are due: workspaces in turn, endpoints by how long they have been due.
-- A delivery line is "state|attempts|token of the open claim|log"; a claim counts the attempt before it is made.
-- ARGV     token, most claims, most attempts under way per endpoint, and 1 for the events' documents
-- returns  ms until something is due (-1: nothing waits), revision of the endpoints per workspace met,
--          then workspace, endpoint, event, attempt per claim;
--          if asked for, a fifth word: the event's document, at the first claim of it, else ''
local token, limit, share, documents = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local now = clock()
local claims, revisions, told, writes = {-1, ''}, {}, {}, {}

local function serve(ws, ep, most)
  local wait, room = K.wait(ep), share - tonumber(redis.call('HGET', K.running(ws), ep) or '0')
  local flown = {}
  local due = room > 0 and redis.call('ZRANGE', wait, '-inf', now, 'BYSCORE', 'LIMIT', 0, math.min(room, most)) or {}
  for _, event in ipairs(due) do
    local key = K.event(event)
    local line = redis.call('HGET', key, ep)
    local attempts, log = string.match(line or '', '^[pr]|(%d+)|[^|]*|(.*)$')
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
    end
  end
  local taken = #flown / 2
  if #due > 0 then redis.call('ZREM', wait, unpack(due)) end
  if taken > 0 then
    redis.call('ZADD', K.FLIGHT, unpack(flown))
    redis.call('HINCRBY', K.running(ws), ep, taken)
  end
  local next = redis.call('ZRANGE', wait, 0, 0, 'WITHSCORES')
  if not next[2] then
    redis.call('ZREM', K.due(ws), ep)
  elseif taken >= room then
    redis.call('ZADD', K.due(ws), '+inf', ep)
  else
    redis.call('ZADD', K.due(ws), next[2], ep)
  end
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
    if took == before then break end
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
