-- Takes a request, if nobody has it. ARGV: fingerprint, salt, run, now, end of the lease, end of an unanswered one, before which end
-- nothing counts any more.
local r = redis.call('HMGET', KEYS[1], 'fingerprint', 'salt', 'run', 'began', 'lease', 'ends', 'answer')
local now, lease, ends = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(r[6] or '')
if ends and ends > tonumber(ARGV[7]) then
    if r[1] ~= ARGV[1] then return {'conflict'} end
    if r[7] then return {'answered', r[7]} end
    if r[3] ~= ARGV[3] and tonumber(r[5]) > now then return {'busy'} end
    ends = math.max(ends, lease)
    redis.call('HSET', KEYS[1], 'run', ARGV[3], 'lease', ARGV[5], 'ends', string.format('%.0f', ends))
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ends - now))
    return {'run', r[2], r[4]}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'salt', ARGV[2], 'run', ARGV[3], 'began', ARGV[4], 'lease', ARGV[5], 'ends', ARGV[6])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[6]) - now))
return {'run', ARGV[2], ARGV[4]}
