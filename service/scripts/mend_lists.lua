-- Walk the keys of the store for records that are in none of the lists that they belong to.
-- ARGV     cursor of the keys, how many
-- returns  next cursor, number put back, then the keys of records of which more must be known than stands beside them
local now, put, told, met = clock(), 0, {}, {}
local JOB, EVENT, ENDPOINT, REPLAY = K.job(''), K.event(''), K.endpoint(''), K.replay('')

local function meet(ws)
  if met[ws] then return end
  met[ws] = true
  put = put + redis.call('SADD', K.WORKSPACES, ws)
end

local function begins(key, with) return string.sub(key, 1, #with) == with and string.sub(key, #with + 1) end

local function of_job(key, job)
  local state, ws = string.match(redis.call('HGET', key, 'state') or '', '^(%S+) (%S+)$')
  if state then meet(ws) end
  local list = (state == 'completed' or state == 'failed') and K.FINAL or K.OPEN_JOBS
  local listed = state and redis.call('ZSCORE', K.jobs(ws), job) and redis.call('ZSCORE', list, job)
  if not listed then told[#told + 1] = key end
end

local function of_event(key, event)
  local ws, open, seq = unpack(redis.call('HMGET', key, 'ws', 'open', 'seq'))
  if not ws then return end
  meet(ws)
  if seq then put = put + redis.call('ZADD', K.events(ws), 'NX', seq, event) end
  if tonumber(open or '1') > 0 then put = put + redis.call('ZADD', K.OPEN_EVENTS, 'NX', now, event) end
end

local function of_endpoint(key, endpoint)
  local ws = redis.call('HGET', key, 'ws')
  if ws and not redis.call('ZSCORE', K.endpoints(ws), endpoint) then told[#told + 1] = key end
end

local function of_replay(key, replay)
  local ws, state, created_at = unpack(redis.call('HMGET', key, 'ws', 'state', 'created_at'))
  if not ws then return end
  meet(ws)
  put = put + redis.call('ZADD', K.replays(ws), 'NX', created_at, replay)
  if state == 'running' then
    put = put + redis.call('ZADD', K.REPLAYING, 'NX', 0, replay)
  else
    put = put + redis.call('ZADD', K.REPLAYED, 'NX', now, replay)
  end
end

local found = redis.call('SCAN', ARGV[1], 'COUNT', ARGV[2], 'TYPE', 'hash')
for _, key in ipairs(found[2]) do
  local job, event, endpoint, replay = begins(key, JOB), begins(key, EVENT), begins(key, ENDPOINT), begins(key, REPLAY)
  if job then
    of_job(key, job)
  elseif event then
    of_event(key, event)
  elseif endpoint then
    of_endpoint(key, endpoint)
  elseif replay then
    of_replay(key, replay)
  end
end
return {found[1], put, unpack(told)}
