-- Put unfinished jobs back into whatever their state needs, where an index has lost them.
-- ARGV     cursor of the unfinished jobs, how many, ms after which a silent one of unknown turn is looked up
-- returns  next cursor, number put back, then jobs whose record does not tell its state
local now, put, mute, lines = clock(), 0, {}, {}

local function into(zset, score, job)
  put = put + redis.call('ZADD', zset, 'NX', score, job)
end

local needs = {
  queued = function(job, ws, place)
    lines[ws] = true
    local found = redis.call('ZSCORE', K.waiting(ws), job) or redis.call('ZSCORE', K.WINDOW, job)
    if not (found or redis.call('ZSCORE', K.LATER, job)) then into(K.waiting(ws), place, job) end
  end,
  submitting = function(job) into(K.WINDOW, now, job) end,
  processing = function(job)
    into(K.WINDOW, now, job)
    into(K.SILENT, now + ARGV[3], job)
  end,
  uncertain = function(job) into(K.UNCERTAIN, now, job) end,
}

local found = redis.call('ZSCAN', K.OPEN_JOBS, ARGV[1], 'COUNT', ARGV[2])
for i = 1, #found[2], 2 do
  local job, place = found[2][i], found[2][i + 1]
  local told = redis.call('HGET', K.job(job), 'state')
  local state, ws = string.match(told or '', '^(%S+) (%S+)$')
  if needs[state] then
    needs[state](job, ws, place)
  elseif state or redis.call('EXISTS', K.job(job)) == 0 then
    redis.call('ZREM', K.OPEN_JOBS, job)
  else
    mute[#mute + 1] = job
  end
end
for ws in pairs(lines) do
  if redis.call('EXISTS', K.waiting(ws)) == 1 and not redis.call('ZSCORE', K.WAITING, ws) then
    redis.call('ZADD', K.WAITING, redis.call('INCR', K.TURN), ws)
    put = put + 1
  end
end
return {found[1], put, unpack(mute)}
